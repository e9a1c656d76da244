"""Prices are read cell by cell from files known by their hash, and returns are those of their logarithms."""

import hashlib
import math

import pytest
import torch

from probgen.data import exchange_rates, log_returns, vix, where
from probgen.data.files import SOURCES, File, Source, find

VIX = "DATE,OPEN,HIGH,LOW,CLOSE\n1990-01-02,17.5,18,17,17.25\n1990-01-03,18,19.5,17.5,19\n"
RATES = "Date,Country,Exchange rate\n1971-01-01,B,2\n1971-02-01,B,4\n1971-02-01,A,0.5\n1971-03-01,A,0.25\n"
HERE = all(find(name, SOURCES[name].files[0]) for name in ("vix", "exchange-rates"))


def put(monkeypatch, folder, name, content):
    (folder / "finance").mkdir(exist_ok=True)
    (folder / "finance" / f"{name}.csv").write_text(content)
    file = File(f"{name}.csv", hashlib.sha256(content.encode()).hexdigest(), ())
    monkeypatch.setitem(SOURCES, name, Source("tiny", "1", "none", (file,), "finance"))
    monkeypatch.setenv("PROBGEN_DATA", str(folder))


def test_every_price_is_in_its_place(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path, "vix", VIX)
    put(monkeypatch, tmp_path, "exchange-rates", RATES)
    days = vix()
    assert where("vix") == str(tmp_path / "finance")
    assert days.prices.dtype == torch.float64
    assert days.prices.tolist() == [[17.5, 18, 17, 17.25], [18, 19.5, 17.5, 19]]
    assert days[1:] == (["1990-01-02", "1990-01-03"], ["open", "high", "low", "close"], "vix", "1")
    months = exchange_rates()
    assert months.days == ["1971-01-01", "1971-02-01", "1971-03-01"]
    assert months.columns == ["A", "B"]
    expected = torch.tensor([[math.nan, 2], [0.5, 4], [0.25, math.nan]]).double()
    torch.testing.assert_close(months.prices, expected, equal_nan=True)
    returns = torch.tensor([[math.nan, math.log(2)], [-math.log(2), math.nan]]).double()
    torch.testing.assert_close(log_returns(months.prices), returns, equal_nan=True)


def test_other_files_and_other_prices_are_refused(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path, "vix", VIX)
    (tmp_path / "finance" / "vix.csv").write_text(VIX.replace("19\n", "20\n"))
    with pytest.raises(ValueError, match=r"vix.csv is damaged, truncated or another file"):
        vix()
    first, *rest = VIX.splitlines()
    put(monkeypatch, tmp_path, "vix", "\n".join([first, *rest[::-1]]))
    with pytest.raises(ValueError, match="the days of vix should follow one another"):
        vix()
    for wrong in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=f"prices should be above 0 and finite but one is {wrong}"):
            log_returns(torch.tensor([1.0, wrong]))
    with pytest.raises(ValueError, match=r"T at least 2, but have \(1,\)"):
        log_returns(torch.ones(1))


@pytest.mark.skipif(not HERE, reason="not on this machine")
def test_the_files_are_what_their_listing_says():
    days, months = vix(), exchange_rates()
    assert days.prices.shape == (9235, 4)
    assert bool(days.prices.isfinite().all())
    assert (days.days[0], days.days[-1]) == ("1990-01-02", "2026-07-23")
    _, high, low, close = days.prices.T
    assert int((high == low).sum()) == 506
    assert float(close[-1]) == 18.7
    assert float(close.min()) == 9.14
    assert months.prices.shape == (666, 34)
    assert int(months.prices.isfinite().sum()) == 17_237
    assert months.prices[0, months.columns.index("Australia")] == 0.8944
    # Means over a month of a random walk have a correlation of 1/4 (Working, 1960).
    returns = log_returns(months.prices[:, months.columns.index("Japan")])
    before, after = returns[:-1] - returns.mean(), returns[1:] - returns.mean()
    assert 0.2 < float((before * after).sum() / (returns - returns.mean()).square().sum()) < 0.45
