"""Stories of every kind give the same losses and the same weights captured as eagerly."""

import logging
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from torch import nn
from torch.nn.functional import one_hot

from probgen import Objective, Pair
from probgen.capture.captured_loss import CapturedLoss
from probgen.objectives import ELBO, SVI, BetaELBO
from tests.pairs import LinearGaussian, Subsampled


class Layered(LinearGaussian):
    """An encoder with dropout and batch normalisation."""

    def __init__(self):
        super().__init__()
        self.guide_map = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))


class Drawn(Pair):
    """Draws the rows that it looks at, factors and a deterministic site beside them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.slope = nn.Parameter(torch.zeros(3))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), subsample_size=4, device=x.device) as rows:
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            mean = pyro.deterministic("mean", z * self.weight, event_dim=1)
            pyro.factor("small", -self.weight.square().sum() * z.square().sum(-1))
            return pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x[rows])

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), subsample_size=4, device=x.device) as rows:
            return pyro.sample("z", dist.Normal(x[rows] * self.slope, 0.5).to_event(1))


class Clusters(Pair):
    """A mixture of three normals; its classes are enumerated by the guide, or summed out by the model."""

    def __init__(self, *, guided=True):
        super().__init__()
        self.means = nn.Parameter(torch.linspace(-1, 1, 9).reshape(3, 3))
        self.classifier = nn.Linear(3, 3)
        self.guided = guided

    @config_enumerate
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(x.new_ones(3) / 3))
            return pyro.sample("x", dist.Normal(self.means[k], 1.0).to_event(1), obs=x)

    @config_enumerate
    def guide(self, x=None, *context, n=1):
        if self.guided:
            with pyro.plate("data", len(x)):
                pyro.sample("k", dist.Categorical(logits=self.classifier(x)))


class Weighed(Objective):
    """A loss whose weights are what the same recurrent net says without a gradient."""

    def __init__(self, unit):
        super().__init__()
        self.unit, self.to_number = unit(3, 4), nn.Linear(4, 1)

    def numbers(self, x):
        return self.to_number(self.unit(x[:, None] + x.new_zeros(3, 3))[0][:, -1]).tanh().sum(-1)

    def forward(self, *batch):
        with torch.no_grad():
            weights = self.numbers(batch[0]).softmax(0)
        return (weights * self.numbers(batch[0])).sum(), {}


STORIES = {
    "recurrent net twice": lambda: Weighed(partial(nn.GRU, batch_first=True)),
    "dropout and batch normalisation": lambda: SVI(Layered()),
    "particles": lambda: SVI(LinearGaussian(), ELBO(particles=3)),
    "annealed": lambda: SVI(LinearGaussian(), BetaELBO(0.1)),
    "a batch that stands for more": lambda: SVI(Subsampled()),
    "rows drawn, factor, deterministic": lambda: SVI(Drawn()),
}
PYROS = {
    "classes enumerated by the guide": lambda: SVI(Clusters(), TraceEnum_ELBO(max_plate_nesting=1)),
    "classes summed out": lambda: SVI(Clusters(guided=False), TraceEnum_ELBO(max_plate_nesting=1)),
    "Trace_ELBO": lambda: SVI(Drawn(), Trace_ELBO()),
    "Trace_ELBO with scores": lambda: SVI(Clusters(), Trace_ELBO()),
    "TraceMeanField_ELBO": lambda: SVI(LinearGaussian(), TraceMeanField_ELBO()),
}


def train(make, mode, device):
    """Train on four batches, the last one smaller; return losses, terms and the final state."""
    torch.manual_seed(7)
    batches = [*torch.randn(5, 8, 3, device=device), torch.randn(5, 3, device=device)]
    objective = make().to(device)
    loss_of = CapturedLoss(objective, mode)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
    record = []
    for step, batch in enumerate(batches):
        if isinstance(getattr(objective, "elbo", None), BetaELBO):
            objective.elbo.beta.fill_(0.1 + 0.2 * step)
        loss, terms = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        record.append(torch.stack([loss.detach(), *terms.values()]))
    assert loss_of.mode == mode
    return torch.stack(record), list(terms), objective.state_dict()


@pytest.mark.filterwarnings("ignore:k:UserWarning")
@pytest.mark.parametrize("story", [*STORIES, *PYROS])
def test_every_story_is_captured_to_the_same_weights(story, device, caplog):
    with caplog.at_level(logging.WARNING):
        expected, names, weights = train((STORIES | PYROS)[story], "eager", device)
        found, found_names, found_weights = train((STORIES | PYROS)[story], "graph", device)
    assert not caplog.records
    assert found_names == names
    assert len(set(expected[:, 0].tolist())) == len(expected)
    for name, value in weights.items():
        assert torch.equal(found_weights[name], value), name
    if story in STORIES:
        assert torch.equal(found, expected)
    else:  # Pyro adds its losses up in Python, in float64
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_classes_of_probability_zero_count_as_zero_when_captured(device):
    """Their log-probability is minus infinity; 0 times that is not a number."""
    pair = Clusters()
    with torch.no_grad():
        pair.classifier.bias.copy_(torch.tensor([0.0, 0.0, -torch.inf]))
    outcomes = []
    x = torch.randn(6, 3, device=device)
    for mode in ("eager", "graph"):
        objective = SVI(pair, TraceEnum_ELBO(max_plate_nesting=1)).to(device)
        objective.zero_grad()
        loss_of = CapturedLoss(objective, mode)
        loss, _ = loss_of(x)
        loss.backward()
        assert loss_of.mode == mode
        outcomes.append([loss.detach(), pair.means.grad.clone(), pair.classifier.weight.grad.clone()])
    assert all(value.isfinite().all() for value in outcomes[0])
    torch.testing.assert_close(outcomes[1], outcomes[0])


class OneHots(Objective):
    """Distance to a class's vector, of as many classes as are said or as the labels have."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.weight = nn.Parameter(torch.arange(3.0))

    def forward(self, *batch):
        return ((one_hot(batch[0], self.classes) - self.weight) ** 2).mean(), {}


def test_one_hot_vectors_are_captured_where_the_number_of_classes_is_said():
    labels = torch.tensor([[2, 0], [1, 1]])
    expected, _ = OneHots(3)(labels)
    loss_of = CapturedLoss(OneHots(3), "graph")
    for other in (labels, labels, 2 - labels, labels):
        found, _ = loss_of(other)
    assert loss_of.mode == "graph"
    assert torch.equal(found, expected)
    with pytest.raises((IndexError, RuntimeError)):
        loss_of(labels + 1)
    unknown = CapturedLoss(OneHots(-1), "graph")
    unknown(labels)
    assert torch.equal(unknown(labels)[0], expected)
    assert unknown.mode == "eager"
