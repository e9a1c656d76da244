"""Penalties on codes against their definitions: Jacobians by autograd, sums written out."""

import logging

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from probgen import fit, nets
from probgen.models import Autoencoder
from probgen.objectives import AbsoluteCodes, Contraction, Reconstruction, Sum, TargetActivation

X = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def model_of(net, *, sigmoid=False, code=3):
    decoder = nets.NormalHead(nets.MLP(code, 5, hidden=()), scale="shared")
    return Autoencoder(nets.PointHead(net, sigmoid=sigmoid), decoder).double()


def deep():
    return nets.MLP(5, 3, hidden=7)


def squared_slopes(model):
    """‖J‖² of each row, by autograd."""
    slopes = [jacobian(lambda x: model.encoder(x).mean, row[None], create_graph=True) for row in X]
    return torch.stack([slope.square().sum() for slope in slopes])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("net", [lambda: nn.Linear(5, 3), lambda: nets.MLP(5, 3, hidden=())])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_contraction_of_one_layer_is_exact(net, sigmoid):
    model = model_of(net(), sigmoid=sigmoid)
    loss, terms = Contraction(model)(X)
    assert terms == {}
    expected = squared_slopes(model).mean()
    torch.testing.assert_close(loss, expected)
    weight = (
        model.encoder.net.weight
        if isinstance(model.encoder.net, nn.Linear)
        else model.encoder.net.last.weight
    )
    found, wanted = (torch.autograd.grad(value, weight)[0] for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_contraction_of_deeper_nets_is_estimated_without_bias(sigmoid):
    """The mean of 400 estimates, at 4 standard errors; of the gradient the same. Power: 10 % are noticed."""
    model = model_of(deep(), sigmoid=sigmoid)
    weight = model.encoder.net.body[0].weight
    expected = squared_slopes(model).mean()
    (wanted,) = torch.autograd.grad(expected, weight)
    objective, losses, gradients = Contraction(model), [], []
    for _ in range(400):
        loss, _ = objective(X)
        losses.append(loss.detach())
        gradients.append((torch.autograd.grad(loss, weight)[0] * wanted).sum())
    for values, truth in ((losses, expected.detach()), (gradients, wanted.square().sum())):
        stacked = torch.stack(values)
        error = stacked.std() / 20
        assert abs(stacked.mean() - truth) < 4 * error
        assert 4 * error < 0.1 * truth
    with torch.no_grad():  # as in validation
        assert not objective(X)[0].requires_grad
    many, _ = Contraction(model, draws=200)(X)
    assert abs(many.detach() - expected) < 0.1 * expected


def test_a_contraction_is_captured(caplog):
    options = {"steps": 4, "batch_size": 6, "seed": 0, "progress": False}
    weights = []
    for compile_ in ("eager", "graph"):
        torch.manual_seed(3)
        model = model_of(deep())
        both = Sum({"reconstruction": Reconstruction(model), "contraction": Contraction(model)})
        with caplog.at_level(logging.WARNING):
            fit(both, X, compile=compile_, **options)
        weights.append(model.encoder.net.last.weight.detach())
    assert not caplog.records
    assert torch.equal(*weights)


def test_sparse_codes():
    model = model_of(deep())
    codes = model.encode(X).mean
    torch.testing.assert_close(AbsoluteCodes(model)(X)[0], codes.abs().sum(1).mean())
    torch.testing.assert_close(
        AbsoluteCodes(model)(X, X + 1)[0], codes.abs().sum(1).mean()
    )  # of what is seen
    model = model_of(deep(), sigmoid=True)
    loss, terms = TargetActivation(model, target=0.1)(X)
    mean = model.encode(X).mean.mean(0)
    laws = [torch.distributions.Bernoulli(p) for p in (torch.full((3,), 0.1).double(), mean)]
    torch.testing.assert_close(loss, torch.distributions.kl_divergence(*laws).sum())
    torch.testing.assert_close(terms["activation"], mean.mean())


def test_a_target_activation_is_reached():
    model = model_of(deep(), sigmoid=True)
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    objective = TargetActivation(model, target=0.1)
    fit(objective, X, steps=60, batch_size=12, optimizer=adam, seed=0, progress=False, compile="eager")
    torch.testing.assert_close(
        model.encode(X).mean.mean(0), torch.full((3,), 0.1).double(), atol=0.01, rtol=0
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"above 0 and below 1 but got 1\.0"):
        TargetActivation(model_of(deep(), sigmoid=True), target=1.0)
    with pytest.raises(ValueError, match=r"codes between 0 and 1: .*PointHead\(net, sigmoid=True\)"):
        TargetActivation(model_of(deep()), target=0.1)
    with pytest.raises(ValueError, match=r"each row by itself, but 'net.1' is a BatchNorm1d: leave it out"):
        Contraction(model_of(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))))
    with pytest.raises(ValueError, match="draws should be at least 1 but got 0"):
        Contraction(model_of(deep()), draws=0)
