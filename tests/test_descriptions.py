"""What things of every room say of themselves: one short line, not a wall of numbers."""

import torch
from torch.distributions import Gamma

import probgen as pg
from probgen import data, models, nets, recipes, sampling
from probgen.compare import Fitted, Method


def test_data_recipes_and_what_is_made_of_them():
    task = recipes.load("digits")
    recipe = recipes.make("vae", task)
    stage = recipe.stages[0]
    for thing, words in (
        (task.train, "Rows(898 x (64,), labels)"),
        (task, "Task('digits', images: 898 rows to learn from and 899 that no method sees, (64,) each)"),
        (stage, "Stage(SVI, 700 steps of 100 rows)"),
        (recipe, "Recipe(VAE, by SVI)"),
        (data.digits(), "Images('digits', 898 and 899 pictures of 8 x 8 in 17 grey levels)"),
        (data.target("ring"), "Target('ring', 8 narrow Gaussians on a circle)"),
    ):
        assert repr(thing) == words
    later = recipes.make("two-stage-vae", task)
    assert repr(later) == "Recipe(TwoStageVAE, by SVI, then a stage made of the ones before)"


def test_a_comparison_and_its_methods():
    def draw(n, *, seed):
        return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))

    vae = models.VAE(nets.NormalHead(nets.MLP(4, 2)), nets.BernoulliHead(nets.MLP(2, 4)))
    result = pg.compare({"a": draw, "b": draw}, draw(40, seed=0), ["energy"], repeats=2, progress=False)
    assert repr(result) == "Comparison(a, b; 2 metrics, 2 repeats; print it for the table)"
    fitted = Fitted(draw, model=vae, log_prob=draw, findings=["It collapsed."])
    assert repr(fitted) == "Fitted(log_prob, model: VAE; finding: It collapsed.)"
    assert repr(Fitted(draw)) == "Fitted(draws alone)"
    assert repr(Method(lambda train, seed: fitted, "a VAE")) == "Method('a VAE')"


def test_densities_laws_chains_and_moves():
    density = pg.Density(lambda x: -(x**2))
    chains = sampling.sample(Gamma(3.0, 1.0), chains=4, warmup=20, draws=20, seed=0, progress=False)
    for thing in (density, chains, sampling.InverseCDF(log_prob=lambda x: -(x**2)), nets.MLP(2, 3)):
        assert type(thing).__name__ in repr(thing)
        assert "0x" not in repr(thing)
        assert len(repr(thing)) < 400
