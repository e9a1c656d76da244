"""Chains know nothing of the data when they start, and agree or are marked; a mixture is drawn exactly."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, constraints

from probgen import recipes
from probgen.cli import classical, comparing
from probgen.compare import thinned_chains
from probgen.core import Density

MEANS = torch.tensor([[-8.0, 0.0], [8.0, 0.0]], dtype=torch.float64)


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinned_chains, "CHAINS", 32)
    monkeypatch.setattr(thinned_chains, "WARM_UP", 200)
    monkeypatch.setattr(thinned_chains, "LONGER", (1, 4))


def density(*means: int) -> Density:
    parts = Independent(Normal(MEANS[list(means)], 1.0), 1)
    law = MixtureSameFamily(Categorical(torch.ones(len(means))), parts)
    return Density(law.log_prob, support=constraints.real_vector, event_shape=(2,), dtype=torch.float64)


def walk(density: Density, generator: torch.Generator) -> thinned_chains.ThinnedChains:
    return thinned_chains.thinned_chains(density, "random_walk", generator=generator)


@pytest.mark.usefixtures("_short")
def test_chains_run_until_they_agree_and_then_draw_the_law() -> None:
    chains = walk(density(0), torch.Generator().manual_seed(0))
    assert chains.findings == []
    assert chains.notes["largest R-hat"] < 1.01
    x = chains.draw(800, 1)
    assert torch.equal(x, chains.draw(800, 1))
    assert not torch.equal(x, chains.draw(800, 2))
    assert x.shape == (800, 2)
    assert (x.mean(0) - MEANS[0]).abs().max() < 5 / 800**0.5
    assert (x.var(0) - 1).abs().max() < 5 * (2 / 800) ** 0.5


@pytest.mark.usefixtures("_short")
def test_chains_that_cannot_agree_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting points between two far modes end in either, and stay."""
    monkeypatch.setattr(thinned_chains, "LONGER", (1,))
    chains = walk(density(0, 1), torch.Generator().manual_seed(0))
    assert any("R-hat is above" in finding for finding in chains.findings)
    assert chains.notes["largest R-hat"] > 1.2


@pytest.mark.usefixtures("_short")
def test_a_marked_row_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinned_chains, "LONGER", (1,))
    monkeypatch.setattr(thinned_chains, "DRAWS", 100)
    task = recipes.load("ring")
    result = comparing.run(
        task, comparing.choose(task, ["rejection", "metropolis"]), ["mmd2"], n=100, repeats=2, seed=0
    )
    assert list(result.findings()) == ["metropolis"]
    assert "R-hat" in result.findings()["metropolis"]
    assert "metropolis †" in result.table()


def test_a_mixture_of_images_is_drawn_exactly() -> None:
    """Draws have the means and variances that the weights, means and variances of the parts give."""
    task = recipes.load("digits")
    fitted = classical.mixture(task).fit(task.train.x, 1)
    x = fitted.sample(4000, seed=1)
    assert torch.equal(x, fitted.sample(4000, seed=1))
    assert fitted.findings == ()
    assert 0 <= x.min() < x.max() <= 1
    law = classical._fit_mixture(classical.dequantised(task.train.x, task.levels, 1), 40, 1)
    y = classical.dequantised(x, task.levels, 2)
    inside = law.mean > 0.1  # elsewhere levels are cut off at 0
    assert int(inside.sum()) > 30
    error = (law.variance / 4000).sqrt()
    assert ((y.mean(0) - law.mean) / error)[inside].abs().max() < 5.5
    assert ((y.var(0) / law.variance - 1)[inside].abs() < 0.25).all()
