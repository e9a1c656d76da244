"""Prices of the user's own, written in several ways, and files that are none."""

import importlib.util

import pandas as pd
import pytest

from probgen.data import share_prices, sp500

ROWS = [("2018-12-28", 10.0), ("2018-12-31", 11.0), ("2019-01-02", 10.5)]


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "date,close\n2018-12-28,10\n2018-12-31,11\n2019-01-02,10.5\n",
        "Date;Open;Adj Close;Close\n2018-12-28;1;10,0;5\n2018-12-31;1;11,0;5\n2019-01-02;1;10,5;5\n",
        "Date,Price\n01/02/2019,10.5\n12/31/2018,11\n12/28/2018,10\n",
        "time,whatever\n28.12.2018,10\n31.12.2018,11\n02.01.2019,10.5\n",
        "date,close\n2018-12-28,10\n2018-12-29,\n2018-12-31,11\n2019-01-02,10.5\n",
        "date,close\n2018-12-28T16:00:00Z,10\n2018-12-31T16:00:00Z,11\n2019-01-02T16:00:00Z,10.5\n",
        "date,close\n2018-12-28 00:00:00+01:00,10\n2018-12-31 00:00:00+01:00,11\n2019-01-02 00:00+01,10.5\n",
    ],
)
def test_prices_are_read_in_the_order_of_time(tmp_path, text):
    found = share_prices(written(tmp_path / "own.csv", text))
    assert [*zip(found.days, found.prices[:, 0].tolist(), strict=True)] == ROWS
    assert found.prices.shape == (3, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("close\n1\n2\n", "should have a column 'date' but has"),
        ("date,open,high\n2018-12-28,1,2\n", "should have a column 'close' or 'price' but has"),
        ("date,close\n2018-12-28,cheap\n", "should hold numbers but holds"),
        ("date,close\n2018-12-28,1\n2018-12-31,0\n", "line 3 of .* has 0"),
        ("date,close\n2018-12-28,\n2018-12-31,\n", "should hold prices but is empty"),
        ("date,close\nFriday,1\nMonday,2\n", "should be written as 2018-12-31 but line 2 has 'Friday'"),
        ("date,close\n2018-12-28,1\n2018-12-28,2\n", "should follow one another, each once"),
        ("date,close\n2018-12-28,1\n2018-12-31,2\n2018-12-30,3\n", "should follow one another, each once"),
        ("date,close\n01/02/2018,1\n02/03/2018,2\n", "theirs can be read in two ways"),
        ("", "is empty"),
        ("date,close\n2018-12-28,1,2\n", "should have 2 fields in each line"),
        ("date,close\n,1\n2018-12-28,2\n", "should be written as 2018-12-31"),
        (
            "date,close\n2018-12-28,1\n2018-12-29,\nNA,3\n",
            "should be written as 2018-12-31 but line 4 has 'nan'",
        ),
        ("date,close\n1000000000,1\n1000086400,2\n", "but line 2 has '1000000000'"),
    ],
)
def test_files_that_hold_no_prices_are_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        share_prices(written(tmp_path / "own.csv", text))


def test_of_many_days_the_last_are_taken(tmp_path):
    days = pd.date_range("1900-01-01", periods=20_010)
    frame = pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "close": range(1, 20_011)})
    frame.to_csv(tmp_path / "own.csv", index=False)
    found = share_prices(tmp_path / "own.csv")
    assert len(found.prices) == 20_000
    assert float(found.prices[0]) == 11


def test_the_index_is_the_one_of_arch_or_is_asked_for():
    if importlib.util.find_spec("arch") is None:
        with pytest.raises(ValueError, match=r"pip install 'probgen\[finance\]'"):
            sp500()
        pytest.skip("arch is not here")
    found = sp500()
    assert (len(found.prices), found.days[0], found.days[-1]) == (5031, "1999-01-04", "2018-12-31")
    assert float(found.prices[-1]) == pytest.approx(2506.85, abs=0.01)
