"""Where a loss is not finite, the site at fault is named: model or guide, and what of it."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import GenerativeModel, Objective, Pair
from probgen.objectives import ELBO, IWAE, SVI
from probgen.training.where_not_finite import where_not_finite


class Faulty(Pair):
    """z ~ N(0, 1), a named value and a factor of it, x | z ~ N(z, 1); faults are planted by place."""

    def __init__(self, **plant):
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.5))
        self.plant = plant

    def at(self, place, tensor):
        """Put the planted number into row 2."""
        if place not in self.plant:
            return tensor
        row = torch.arange(tensor.shape[-1], device=tensor.device) == 2
        return torch.where(row, self.plant[place], tensor)

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            loc = self.at("prior loc", torch.zeros_like(x))
            z = pyro.sample("z", dist.Normal(loc, self.at("prior scale", torch.ones_like(x))))
            twice = pyro.deterministic("twice", self.at("named value", 2 * z), event_dim=0)
            pyro.factor("reward", self.at("factor", -(twice**2)))
            if "factorise" in self.plant:
                torch.linalg.cholesky(-torch.eye(2))
            return pyro.sample("x", dist.Normal(z, self.at("scale", torch.ones_like(x))), obs=x)

    def guide(self, x=None, *context, n=1):
        loc = self.at("guide loc", self.location * x)
        with pyro.plate("data", len(x)):
            law = dist.Normal(loc, self.at("guide scale", torch.ones_like(x)))
            return pyro.sample("z", law)


FAULTS = {
    ("guide loc", torch.nan): "guide site 'z': its loc is nan at row 2",
    ("guide loc", torch.inf): "guide site 'z': its loc is inf at row 2",
    ("guide scale", torch.inf): "guide site 'z': its scale is inf at row 2",
    ("guide scale", 0.0): "guide site 'z': its scale is 0.0 at row 2, not in GreaterThan(lower_bound=0.0)",
    ("prior loc", torch.nan): "model site 'z': its loc is nan at row 2",
    ("prior scale", 1e-30): "model site 'z': its log_prob is -inf at row 2",
    ("named value", torch.nan): "model site 'twice': its value is nan at row 2",
    ("factor", -torch.inf): "model site 'reward': its log_factor is -inf at row 2",
    ("scale", torch.nan): "model site 'x': its scale is nan at row 2",
    ("scale", -1.0): "model site 'x': its scale is -1.0 at row 2, not in GreaterThan(lower_bound=0.0)",
    ("factorise", True): "after model site 'reward' it raised: linalg.cholesky: The factorization could",
}


@pytest.mark.parametrize(("fault", "sentence"), FAULTS.items(), ids=map(str, FAULTS))
@pytest.mark.parametrize(
    "elbo", [ELBO(), ELBO(particles=3), IWAE(2), pyro.infer.Trace_ELBO()], ids=["1", "3", "iwae", "pyro"]
)
def test_the_first_site_at_fault_is_named(fault, sentence, elbo, device):
    place, value = fault
    pair, x = Faulty().to(device), torch.arange(4.0, device=device)
    SVI(pair, elbo)(x)  # as a training has, before the fault
    pair.plant = {place: value}
    assert where_not_finite(SVI(pair, elbo), x).startswith(sentence)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_data_at_fault_are_named(bad):
    x = torch.tensor([0.0, bad])
    assert where_not_finite(SVI(Faulty()), x) == f"guide site 'z': its loc is {bad} at row 1"


def test_nothing_is_named_where_all_is_finite(device):
    pair = Faulty().to(device)
    before = torch.get_rng_state()
    assert where_not_finite(SVI(pair), torch.arange(4.0, device=device)) is None
    assert torch.equal(torch.get_rng_state(), before)
    assert not {"model", "guide"} & vars(pair).keys()
    assert torch.distributions.Normal(0.0, 1.0)._validate_args  # validation is on again


def test_what_a_mask_hides_is_not_at_fault():
    class Masked(Faulty):
        def model(self, x=None, *context, n=1):
            with pyro.poutine.mask(mask=torch.arange(len(x)) != 2):
                return super().model(x)

    x = torch.arange(4.0)
    assert where_not_finite(SVI(Masked(scale=torch.nan)), x) is None
    assert where_not_finite(SVI(Faulty(scale=torch.nan)), x) is not None


def test_a_story_of_the_instance_is_put_back():
    pair = Faulty()
    guide = pair.guide
    pair.guide = lambda x: guide(x + torch.nan)
    mine = pair.guide
    assert where_not_finite(SVI(pair), torch.ones(3)) == "guide site 'z': its loc is nan at row 0"
    assert pair.guide is mine


LAWS = {
    "probs": lambda bad: (dist.Categorical(torch.stack([bad, bad], -1)), "probs is nan at row 1"),
    "scale_tril": lambda bad: (
        dist.MultivariateNormal(torch.zeros(2), scale_tril=torch.eye(2) * bad[:, None, None]),
        "scale_tril is nan at row 1",
    ),
    "base": lambda bad: (dist.LogNormal(bad, 1.0), "loc is nan at row 1"),
    "mixture": lambda bad: (
        dist.MixtureSameFamily(
            dist.Categorical(torch.ones(3, 2)), dist.Normal(torch.stack([bad, bad], -1), 1.0)
        ),
        "loc is nan at row 1",
    ),
}


@pytest.mark.parametrize("make", LAWS.values(), ids=LAWS)
def test_parameters_of_all_kinds_of_laws_are_found(make):
    with pyro.validation_enabled(False):
        law, expected = make(torch.tensor([1.0, torch.nan, 1.0]))

    class One(GenerativeModel):
        def model(self, x=None, *context, n=1):
            with pyro.plate("data", 3):
                return pyro.sample("y", law, obs=x)

    class Likelihood(Objective):
        def __init__(self):
            super().__init__()
            self.one = One()

        def forward(self, *batch):
            with pyro.poutine.trace():
                return self.one.model(*batch).sum(), {}

    x = torch.ones(3, *law.event_shape)
    assert where_not_finite(Likelihood(), x) == f"model site 'y': its {expected}"


def test_an_objective_without_sites_has_none():
    class Square(Objective):
        def forward(self, *batch):
            return batch[0].square().sum() / 0, {}

    class Raises(Objective):
        def forward(self, *batch):
            raise RuntimeError("no")

    assert where_not_finite(Square(), torch.ones(3)) is None
    assert where_not_finite(Raises(), torch.ones(3)) == "before any site it raised: no"
