"""seed= and generator= are both taken wherever randomness enters, and never both at once."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import SVI, compare, data, evaluation, fit, mmd, models, nets, sampling
from probgen.core import Density

X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
GREY = X.sigmoid()
LABELS = torch.arange(40) % 2


def story(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


DENSITY = Density.from_model(story, X[:, 0])
NORMAL = torch.distributions.Normal(0.0, 1.0)
VAE = models.VAE(nets.NormalHead(nets.MLP(2, 1)), nets.NormalHead(nets.MLP(1, 2)))
WALK = sampling.random_walk(DENSITY, scale=1.0)


CHAINS = sampling.sample(DENSITY, chains=4, warmup=20, draws=5, seed=0, progress=False)


def fitted(**source):
    module = copy.deepcopy(VAE)
    fit(SVI(module), X, steps=3, progress=False, **source)
    return module.encoder.net.last.weight.detach()


ANNEALED = {"temperatures": 2, "chains": 2, "leapfrog_steps": 1}


def normal(n, seed):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


CALLS = {
    "sample": lambda **s: sampling.sample(NORMAL, warmup=20, draws=5, progress=False, **s)["x"],
    "run": lambda **s: sampling.run(WALK, torch.zeros(3, 1), draws=5, **s)["position"],
    "sample_qmc": lambda **s: sampling.sample_qmc(NORMAL, 8, **s),
    "model.sample": lambda **s: VAE.sample(3, **s),
    "simulate": lambda **s: DENSITY.simulate(3, **s)[0]["mu"],
    "predict": lambda **s: DENSITY.predict({"mu": torch.zeros(3)}, **s)["y"],
    "binarise": lambda **s: data.binarise(GREY, **s),
    "dequantise": lambda **s: data.dequantise(GREY.round(), 2, **s),
    "target": lambda **s: data.target("banana").sample(5, **s),
    "data_copying_test": lambda **s: evaluation.data_copying_test(X + 0.2, X, -X, cells=9, **s).by_cell,
    "classifier_features": lambda **s: evaluation.classifier_features(X, LABELS, steps=2, **s)(X),
    "mmd_test": lambda **s: mmd.mmd_test(X, X + 0.3, permutations=99, **s).null,
    "ksd_test": lambda **s: mmd.ksd_test(X, lambda x: -x, bootstraps=99, **s).null,
    "deep_kernel_test": lambda **s: mmd.deep_kernel_test(X, X + 0.3, steps=2, permutations=99, **s).null,
    "mmd2_fourier": lambda **s: torch.tensor(mmd.mmd2_fourier(X, X + 1, mmd.Gaussian(1.0), **s).value),
    "mmd2_nystrom": lambda **s: torch.tensor(
        mmd.mmd2_nystrom(X, X + 1, mmd.Gaussian(1.0), landmarks=3, **s).value
    ),
    "log_likelihoods": lambda **s: evaluation.log_likelihoods(VAE, X, particles=3, **s),
    "log_likelihood": lambda **s: torch.tensor(evaluation.log_likelihood(VAE, X, particles=3, **s).value),
    "annealed": lambda **s: evaluation.annealed_log_likelihood(VAE, X, **ANNEALED, **s).values,
    "bracketed": lambda **s: evaluation.bracketed_log_likelihood(VAE, 3, **ANNEALED, **s).upper.values,
    "inference_gaps": lambda **s: torch.tensor(
        evaluation.inference_gaps(VAE, X, **ANNEALED, steps=3, **s).local.value
    ),
    "regret": lambda **s: evaluation.likelihood_regret(VAE, X, steps=2, **s),
    "anomaly_scores": lambda **s: torch.tensor(
        evaluation.anomaly_scores(VAE, X, train=X, particles=3, **s).to_numpy()
    ),
    "detection": lambda **s: torch.tensor(evaluation.detection(X[:, 0], X[:, 1], **s).false_alarms),
    "robustness": lambda **s: torch.tensor(
        evaluation.robustness({}, X, LABELS, X, LABELS, components=1, **s)["to_clean"].to_numpy()
    ),
    "active_units": lambda **s: torch.tensor(  # of one site from its means, whatever the seed
        float(evaluation.active_units(VAE, X, draws=3, **s)["variance"].iloc[0])
    ),
    "fit": lambda **s: fitted(**s),
    "compare": lambda **s: torch.tensor(
        compare({"normal": normal}, X, ["energy"], n=20, repeats=1, progress=False, **s).frame["value"]
    ),
    "posterior.simulate": lambda **s: VAE.posterior(X).simulate(3, **s)[0]["z"],
    "posterior.predict": lambda **s: VAE.posterior(X).predict({"z": torch.zeros(3, 40, 1)}, **s)["x"],
    "to_arviz": lambda **s: torch.tensor(CHAINS.to_arviz(prior=3, **s).posterior_predictive["y"].values),
    "classifier": lambda **s: torch.tensor(
        evaluation.classifier_two_sample(X, torch.cat([X, -X]) + 0.5, folds=2, **s).accuracy
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_seeds_and_generators_decide_the_draws(call):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(call(seed=1), call(seed=1))
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 3)]
    first, again = (call(generator=generator) for generator in generators)
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())  # torch's own generator is left alone
    assert not torch.equal(first, call(seed=7)) or first.dim() == 0
    with pytest.raises(ValueError, match="generator or seed, one at most"):
        call(seed=1, generator=torch.Generator())
