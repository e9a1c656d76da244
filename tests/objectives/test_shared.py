"""What model and guide both compute is computed once a bound, with the values and gradients of twice."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from probgen import Pair
from probgen.objectives import ELBO, IWAE, SVI, Renyi
from probgen.training import fit


class Reader(Pair):
    """A prior and a guide that both read x through one net, as a recurrent model reads the past."""

    def __init__(self, share: bool):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.prior, self.encoder, self.decoder = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(2, 3)
        self.share, self.calls = share, []

    def read(self, x):
        def compute():
            if not torch.compiler.is_compiling():
                self.calls.append(1)
            return self.net(x)

        return self.shared("read", compute) if self.share else compute()

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.prior(self.read(x)), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(self.read(x)), 0.5).to_event(1))


def outcome(share, bound, x):
    torch.manual_seed(0)
    pair = Reader(share).to(x)
    torch.manual_seed(1)
    svi = SVI(pair, bound())
    loss, _ = svi(x)
    pair.calls.clear()
    torch.manual_seed(1)
    loss, _ = svi(x)
    gradients = torch.autograd.grad(loss, list(pair.parameters()))
    return len(pair.calls), loss.detach(), gradients


@pytest.mark.parametrize(
    ("bound", "calls"),
    [
        (ELBO, (1, 2)),
        (lambda: ELBO(particles=3), (1, 2)),
        (lambda: IWAE(3, gradient="plain"), (1, 2)),
        (lambda: IWAE(3), (2, 3)),  # the second pass through the model has gradients that the first lacks
        (lambda: Renyi(0.5, particles=3), (1, 2)),
        (Trace_ELBO, (1, 2)),
    ],
    ids=["elbo", "elbo-3", "iwae-plain", "iwae", "renyi", "pyro"],
)
def test_it_is_computed_once_and_right(bound, calls, device):
    x = torch.randn(5, 3, dtype=torch.float64, device=device, generator=None)
    pair = {share: outcome(share, bound, x) for share in (True, False)}
    checked = pair[True][0] // calls[0]  # bounds of several draws look at some of them alone now and then
    assert (pair[True][0], pair[False][0]) == (calls[0] * checked, calls[1] * checked) or checked > 1
    assert pair[True][0] < pair[False][0]
    torch.testing.assert_close(pair[True][1], pair[False][1], rtol=1e-12, atol=0)
    for one, other in zip(pair[True][2], pair[False][2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_each_bound_and_each_batch_computes_anew(device):
    pair = Reader(share=True).to(device)
    svi = SVI(pair)
    x = torch.randn(2, 5, 3, device=device)
    losses = []
    for batch in (x[0], x[1], x[0]):
        torch.manual_seed(0)
        losses.append(float(svi(batch)[0].detach()))
    assert losses[0] == losses[2] != losses[1]
    assert len(pair.calls) == 4  # once more for the first batch of a form, to see which sites are discrete
    with pytest.raises(RuntimeError):
        svi(torch.zeros(5, 4, device=device))  # a failure within leaves nothing behind
    pair.guide(x[0])
    pair.guide(x[0])
    assert len(pair.calls) == 7  # outside of a bound at each call


def test_a_pair_that_shares_is_captured(device, caplog):
    class Quiet(Reader):
        def read(self, x):
            return self.shared("read", lambda: self.net(x))

    torch.manual_seed(0)
    pair = Quiet(share=True).to(device)
    fit(
        SVI(pair),
        torch.randn(40, 3).to(device),
        steps=6,
        batch_size=20,
        seed=0,
        compile="graph",
        progress=False,
    )
    assert "eagerly" not in caplog.text
