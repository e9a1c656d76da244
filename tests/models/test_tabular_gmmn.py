"""Tables: an exact encoding, categories drawn from their law, and dependence between columns learned."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probgen import data, fit
from probgen.mmd import Gaussian, bandwidth_grid, mmd2
from probgen.models import TabularGMMN
from probgen.objectives import MomentMatching
from probgen.training import schedules


def people(n, seed):
    """Two groups of three and seven tenths; the numbers depend on the group, one of them is often 0."""
    random = np.random.default_rng(seed)
    old = random.random(n) < 0.3
    income = np.where(old, random.normal(10, 1, n), random.exponential(2, n))
    debt = np.where(old | (random.random(n) < 0.5), 0.0, income + random.normal(0, 0.3, n))
    return pd.DataFrame(
        {"income": income, "debt": debt, "old": old, "town": random.choice(["A", "B", "C"], n)}
    )


def test_encoding_and_decoding_give_the_table_back():
    table = data.table(people(667, 0).astype({"town": "category"}), dtype=torch.float64)
    model = TabularGMMN(table, noise=4).double()
    codes = model.as_numbers(table.train)
    assert codes.shape == (500, model.width) == (500, 2 + 2 + 3)
    torch.testing.assert_close(model.as_rows(codes), table.train)
    income = codes[:, 0].sort().values  # n distinct numbers: the normal scores of (i + 1/2) / n
    torch.testing.assert_close(income, torch.special.ndtri((torch.arange(500).double() + 0.5) / 500))
    debt = codes[:, 1].sort().values  # of its many zeros each has a rank of its own
    bound = (np.log(2 / 1e-6) / 1000) ** 0.5  # Dvoretzky, Kiefer and Wolfowitz
    assert (torch.special.ndtr(debt) - (torch.arange(500) + 0.5) / 500).abs().max() < bound
    assert not torch.equal(codes, model.as_numbers(table.train, generator=torch.Generator().manual_seed(1)))
    beyond = table.train[:1].clone()
    beyond[0, 0] = 1e6
    assert model.as_numbers(beyond)[0, 0] == income[-1]


def test_normal_scores_decode_to_the_tables_quantiles():
    table = data.table(people(2667, 1)[["debt"]], dtype=torch.float64)
    debt = table.frame(table.train).debt
    assert len(debt) == 2000
    model = TabularGMMN(table, noise=1).double()
    scores = torch.special.ndtri((torch.arange(4000).double() + 0.5) / 4000)
    found = table.frame(model.as_rows(scores.unsqueeze(1))).debt
    none = debt.abs().min()
    assert none < 1e-12
    assert (found.abs() < 1e-9).mean() == pytest.approx((debt.abs() < 1e-9).mean(), abs=1e-3)
    quantiles = [0.1, 0.7, 0.8, 0.9, 0.95]
    np.testing.assert_allclose(found.quantile(quantiles), debt.quantile(quantiles), atol=0.02)


def test_categories_are_drawn_from_the_softmax_and_pass_its_gradient(device):
    logits = torch.tensor([0.0, 1.0, -1.0], device=device)
    model = TabularGMMN(data.table({"k": [*"abcabc"]}), nn.Linear(1, 3), noise=1).to(device)
    with torch.no_grad():
        model.generator.weight.zero_()
        model.generator.bias.copy_(logits)
    n = 20_000
    torch.manual_seed(0)
    draws = model.model(n=n)
    assert ((draws == 0) | (draws == 1)).all()
    expected = logits.softmax(-1)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((draws.detach().mean(0) - expected).abs() < 5.1 * error).all()  # false alarm 1e-6
    draws[:, 0].mean().backward()
    slope = model.generator.bias.grad
    assert slope[0] > 0
    assert slope[1] < 0


def test_learns_how_columns_depend(device):
    table = people(6000, 2)
    coded = data.table(table, test=1 / 3)
    torch.manual_seed(0)
    model = TabularGMMN(coded, noise=4).to(device)
    x, y = model.as_numbers(coded.train), model.as_numbers(coded.test)
    kernel = Gaussian(bandwidth_grid(x[:500], x[500:1000])[:4])
    shuffled = torch.cat([y[torch.randperm(len(y))][:, part] for part in ([0], [1], [2, 3], [4, 5, 6])], 1)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    rate = schedules.cosine(0.01, 1e-4, steps=400)
    options = {"optimizer": adam, "schedules": {"lr": rate}, "compile": "graph", "seed": 0, "progress": False}
    fit(MomentMatching(model, kernel), x, steps=400, batch_size=200, **options)
    draws = model.sample(2000, seed=0)
    assert mmd2(draws, y, kernel).value < 0.08 * mmd2(shuffled, y, kernel).value
    found = model.frame(4000, seed=1)
    found["debt"] = found.debt.where(found.debt.abs() > 1e-6, 0.0)  # an atom, to the rounding of its code
    assert found.old.mean() == pytest.approx(0.3, abs=0.04)
    means, expected = (frame.groupby("old").income.mean() for frame in (found, table))
    np.testing.assert_allclose(means, expected, atol=0.7)
    assert (found.debt[found.old] == 0).mean() > 0.85  # the old have no debt
    assert (found.debt[~found.old] == 0).mean() == pytest.approx(0.5, abs=0.1)
    young = found[~found.old & (found.debt > 0)]
    assert np.corrcoef(young.income, young.debt)[0, 1] > 0.5


def test_missing_values_are_refused_with_the_way_out():
    table = people(20, 0)
    table.loc[3, "debt"] = None
    with pytest.raises(ValueError, match=r"column 'debt' should have no missing values, .* nets.MixedHead"):
        TabularGMMN(data.table(table))
