"""Tables: kinds found, codes with right values, rows put back into the user's units, the split."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split

from probgen import data
from probgen.data.columns import found_kind

N = 40


def frame():
    """One column of each kind, a few values missing."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "change": random.normal(3, 2, N),
            "income": random.lognormal(10, 1, N),
            "visits": random.poisson(4, N),
            "ill": random.random(N) < 0.3,
            "town": pd.Categorical(random.choice(["C", "A", "B"], N), categories=["C", "B", "A", "Z"]),
            "name of street": random.choice(["x", "y", "ü", "z"], N),
        }
    )
    table.loc[[3, 17], "change"] = np.nan
    table.loc[5, ["town", "name of street"]] = None
    return table


KINDS = {
    "change": "real",
    "income": "positive",
    "visits": "count",
    "ill": "binary",
    "town": ("categorical", 3),
    "name of street": ("categorical", 4),
}


def test_codes_are_what_their_kinds_say():
    table = data.table(frame(), dtype=torch.float64)
    assert table.kinds == KINDS
    train, _ = train_test_split(np.arange(N), test_size=0.25, random_state=0)
    rows = frame().iloc[sorted(train)]
    assert len(table.train) == 30
    assert len(table.test) == 10
    change, income, visits, ill, town, street = table.train.T.numpy()
    np.testing.assert_allclose(change, (rows.change - rows.change.mean()) / rows.change.std())
    np.testing.assert_allclose(income, rows.income / np.exp(np.log(rows.income).mean()))
    np.testing.assert_array_equal(visits, rows.visits)
    np.testing.assert_array_equal(ill, rows.ill)
    np.testing.assert_array_equal(town, rows.town.map({"C": 0, "B": 1, "A": 2}).astype(float))
    np.testing.assert_array_equal(street, rows["name of street"].map({"x": 0, "y": 1, "z": 2, "ü": 3}))


def test_coded_rows_come_back_in_their_units_and_types():
    whole = frame()
    table = data.table(whole, dtype=torch.float64)
    pd.testing.assert_frame_equal(table.frame(table.rows(whole)), whole, check_categorical=False)
    single = data.table(whole)
    pd.testing.assert_frame_equal(single.frame(single.rows(whole)), whole, rtol=1e-5, check_categorical=False)
    years = data.table({"year": np.arange(1990, 2020)[::-1].copy(), "x": np.linspace(-1, 1, 30)})
    assert years.kinds["year"] == "real"
    assert years.frame(years.train + 0.01).year.tolist() == years.frame(years.train).year.tolist()
    assert years.frame(years.train).year.dtype == np.int64


def test_distances_are_standard_deviations_and_one_hot_and_lead_back():
    table = data.table(frame(), dtype=torch.float64)
    numbers = table.distances(table.train)
    assert numbers.shape == (30, 3 + 2 + 3 + 4)
    seen = numbers.nan_to_num(0)[:, :3]
    torch.testing.assert_close(seen.mean(0), torch.zeros(3).double())
    full = numbers[~numbers.isnan().any(1)]
    torch.testing.assert_close(full[:, 1:3].var(0), numbers[:, 1:3][~numbers.isnan().any(1)].var(0))
    torch.testing.assert_close(numbers[:, 2].std(), torch.tensor(1.0).double())
    assert torch.equal(full[:, 3:5].sum(1), torch.ones(len(full)).double())
    assert torch.equal(full[:, 5:8].argmax(1).double(), table.train[~numbers.isnan().any(1), 4])
    torch.testing.assert_close(table.from_distances(numbers), table.train, equal_nan=True)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.random.default_rng(0).normal(size=50), "real"),
        (np.random.default_rng(0).exponential(size=50), "positive"),
        (np.random.default_rng(0).normal(170, 8, 50), "real"),  # above 0, but as good as normal
        (np.random.default_rng(0).poisson(3.0, 50), "count"),
        (np.random.default_rng(0).poisson(3.0, 50).astype(float), "count"),
        (np.random.default_rng(0).integers(0, 3, 500), "categorical"),  # less spread than any count
        (np.random.default_rng(0).integers(-30, 30, 50), "real"),
        (np.random.default_rng(0).integers(1, 3, 50), "binary"),
        (["yes", "no", None] * 9, "binary"),
        (["a", "b", "c"] * 9, "categorical"),
        (["1", "2.5", "9"] * 9, "positive"),  # numbers as text
        ([True, False, None] * 9, "binary"),
        ([10**8 + 7 * i**5 for i in range(90)], "positive"),  # too large for float32 to count
    ],
)
def test_a_kind_is_found(values, kind):
    assert found_kind(pd.Series(values, name="x")) == (kind, "")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([None] * 30, "all values are missing"),
        ([7.0] * 30, "constant, 7.0"),
        (pd.date_range("2020-01-01", periods=30), "dates and times"),
        ([f"2020-01-{day:02}" for day in range(1, 31)], "dates and times"),
        ([f"{day}.1.2020" for day in range(1, 31)], "dates and times"),
        (range(30), "row numbers"),
        ([f"patient {i}" for i in range(200)], "200 different words, an identifier or free text"),
    ],
)
def test_what_cannot_be_learned_is_left_out_with_a_word(values, reason, caplog):
    values = list(values)
    table = data.table({"x": np.random.default_rng(0).normal(size=len(values)), "y": np.array(values)})
    assert list(table.kinds) == ["x"]
    assert table.facts["left out"] == {"y": reason}
    assert f"'y' ({reason})" in caplog.text


def test_kinds_are_what_the_user_says():
    kinds = {"visits": "categorical", "income": "real", "town": None}
    table = data.table(frame(), kinds=kinds)
    assert table.kinds["visits"][0] == "categorical"
    assert table.kinds["income"] == "real"
    assert table.facts["left out"] == {"town": "as asked"}
    assert table.facts["missing values"] == {"change": 2, "name of street": 1}


def test_arrays_of_every_form():
    x = np.random.default_rng(0).normal(size=(20, 2))
    first = data.table(x)
    assert list(first.kinds) == ["x1", "x2"]
    for source in (torch.tensor(x), pd.DataFrame(x, columns=["x1", "x2"]), {"x1": x[:, 0], "x2": x[:, 1]}):
        assert torch.equal(data.table(source).train, first.train)
    shuffled = pd.DataFrame(x, columns=["x1", "x2"], index=range(20, 0, -1))
    assert torch.equal(data.table(shuffled).train, first.train)  # rows are counted, not named


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: data.table(t[:3]), "at least 4 rows, to be split, but 'table' has 3"),
        (
            lambda t: data.table(t, kinds={"age": "real"}),
            "kinds should name columns, 'change', .* names 'age'",
        ),
        (lambda t: data.table(t, kinds={"town": "ordinal"}), "'town' should be of real, .* is 'ordinal'"),
        (
            lambda t: data.table(t, kinds={"change": "positive"}),
            "'change' should be above 0 .* row .* holds -",
        ),
        (lambda t: data.table(t, kinds={"income": "count"}), "'income' should be 0, 1, 2, .* but row 0"),
        (lambda t: data.table(t, kinds={"town": "real"}), "'town' should hold numbers but holds"),
        (lambda t: data.table(t, kinds={"town": "binary"}), "'town' should have two values to be binary"),
        (
            lambda t: data.table(t.assign(income=[np.inf, *range(1, N)])),
            "'income' should be finite or missing but row 0",
        ),
        (lambda t: data.table(t, test=0.0), "test should be a share between 0 and 1 but got 0.0"),
        (lambda t: data.table(t[["ill"]].assign(ill=True)), "all are left out \\('ill': constant, True"),
        (lambda t: data.table(pd.concat([t, t], axis=1)), "different names but has 'change' twice"),
        (lambda t: data.table({"a": [1.0, 2], "b": [1.0]}), "equally long arrays"),
        (lambda t: data.table(np.zeros(5)), "array of shape \\(n, columns\\).*ndarray of shape \\(5,\\)"),
        (
            lambda t: data.table(t).rows(t.assign(town="D")),
            "'town' .* seen before, 'C', 'B', 'A', .* holds 'D'",
        ),
        (lambda t: data.table(t).rows(t[["town"]]), "should have the column 'change' but has \\['town'\\]"),
        (
            lambda t: data.table(t).frame(torch.zeros(3, 2)),
            "x should have shape \\(n, 6\\) but has \\(3, 2\\)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(frame())


def test_a_column_of_numbers_with_a_few_words_is_named():
    values = [*map(str, np.random.default_rng(0).normal(size=200)), "twelve"]
    with pytest.raises(ValueError, match=r"column 'y' should hold numbers alone.* row 200 holds 'twelve'"):
        data.table({"y": np.array(values, dtype=object)})
