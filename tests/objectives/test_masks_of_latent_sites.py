"""Masked sites: exact bounds on the rows that count, whatever objects the masks are."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import Pair
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation import log_likelihood
from probgen.objectives import ELBO, IWAE, SVI, Renyi


class Seen(Pair):
    """z ~ N(0, I), x | z ~ N(z, I), both in rows that are seen alone; the guide is the posterior, shifted.

    Args:
        how: "site", by ``poutine.mask``, or "law", by ``law.mask``.
        guide_mask: of the seen rows, the mask that the guide is given: "equal", "none" or "more".
        model_mask: whether the model has one.
        shift: of the guide's mean from the posterior's, x / 2.
    """

    def __init__(self, how="site", guide_mask="equal", *, model_mask=True, shift=0.3):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift, dtype=torch.float64))
        self.how, self.guide_mask, self.model_mask = how, guide_mask, model_mask

    def masked(self, law, mask):
        """Return a law over the two coordinates, masked, and what masks its site."""
        if mask is None:
            return law.to_event(1), True
        if self.how == "law":
            return law.mask(mask.unsqueeze(-1)).to_event(1), True
        return law.to_event(1), mask

    def mask(self, x):
        return x[:, 0] < 9  # another object at each call

    def model(self, x=None, *context, n=1):
        mask = self.mask(x) if self.model_mask else None
        with pyro.plate("data", len(x)):
            law, where = self.masked(dist.Normal(torch.zeros_like(x), 1.0), mask)
            with poutine.mask(mask=where):
                z = pyro.sample("z", law)
            law, where = self.masked(dist.Normal(z, 1.0), self.mask(x))
            with poutine.mask(mask=where):
                return pyro.sample("x", law, obs=x)

    def guide(self, x=None, *context, n=1):
        mask = {"equal": self.mask(x), "none": None, "more": self.mask(x) & (x[:, 0] > 0)}[self.guide_mask]
        with pyro.plate("data", len(x)):
            law, where = self.masked(dist.Normal(x / 2 + self.shift, 0.5**0.5), mask)
            with poutine.mask(mask=where):
                return pyro.sample("z", law)


@pytest.fixture
def x(device):
    return torch.tensor(
        [[0.5, -1.0], [9.0, 9.0], [-0.4, 0.8], [1.5, 0.2]], dtype=torch.float64, device=device
    )


def exact(x):
    """Return KL, reconstruction and evidence per datum: of the rows seen, over the number of all."""
    seen = x[x[:, 0] < 9]
    mean = seen / 2 + 0.3
    kl = 0.5 * (0.5 + mean**2 - 1 - torch.tensor(0.5, dtype=x.dtype).log()).sum()
    log_x = dist.Normal(mean, 1.0).log_prob(seen).sum() - 0.5 * 0.5 * seen.numel()
    evidence = dist.Normal(0.0, 2**0.5).log_prob(seen).sum()
    return kl / len(x), log_x / len(x), evidence / len(x)


@pytest.mark.parametrize("how", ["site", "law"])
@pytest.mark.parametrize("guide_mask", ["equal", "none", "more"])
def test_the_kl_is_analytic_and_of_the_rows_that_the_model_counts(how, guide_mask, x):
    pair = Seen(how, guide_mask).to(x.device)
    loss, terms = SVI(pair, ELBO(particles=4000))(x)
    kl, log_x, _ = exact(x)
    torch.testing.assert_close(terms["kl"], kl, rtol=1e-10, atol=0.0)
    torch.testing.assert_close(terms["reconstruction"], log_x, rtol=0.0, atol=0.1)  # 5 sd
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    torch.testing.assert_close(loss.detach(), -terms["elbo"])
    assert float(terms["active"]) + float(terms["inactive"]) == 2


def test_a_mask_of_the_guide_alone_does_not_hide_the_kl(x):
    pair = Seen(guide_mask="more", model_mask=False).to(x.device)
    rows = x / 2 + 0.3
    kl = 0.5 * (0.5 + rows**2 - 1 - torch.tensor(0.5, dtype=x.dtype).log()).sum() / len(x)
    torch.testing.assert_close(SVI(pair)(x)[1]["kl"].detach(), kl, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("how", ["site", "law"])
@pytest.mark.parametrize("guide_mask", ["equal", "none"])
@pytest.mark.parametrize("bound", [IWAE(3), IWAE(3, gradient="plain"), Renyi(0.5)], ids=repr)
def test_weights_at_the_posterior_are_the_evidence_of_the_rows_seen(how, guide_mask, bound, x):
    pair = Seen(how, guide_mask, shift=0.0).to(x.device)
    evidence = exact(x)[2]
    loss, terms = SVI(pair, bound)(x)
    torch.testing.assert_close(-loss.detach(), evidence)
    torch.testing.assert_close(terms["elbo"], evidence)
    found = log_likelihood(pair, x, particles=3, seed=0)
    torch.testing.assert_close(torch.tensor(found.value), evidence.cpu(), check_dtype=False)


@pytest.mark.parametrize("how", ["site", "law"])
@pytest.mark.parametrize(
    "elbo", [pyro.infer.Trace_ELBO(), pyro.infer.TraceMeanField_ELBO()], ids=lambda one: type(one).__name__
)
def test_bounds_of_pyro_need_equal_masks(how, elbo, x):
    pair = Seen(how).to(x.device)
    terms = SVI(pair, elbo)(x)[1]
    torch.testing.assert_close(terms["kl"].detach(), exact(x)[0])
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    with pytest.raises(ValueError, match="guide site 'z' should have the mask that it has in the model"):
        SVI(Seen(how, "none").to(x.device), elbo)(x)


def test_a_mask_that_the_guides_law_cannot_take_is_named(x):
    class Whole(Seen):
        def guide(self, x=None, *context, n=1):
            with pyro.plate("data", len(x)):
                scale = torch.eye(2, dtype=x.dtype, device=x.device)
                return pyro.sample("z", dist.MultivariateNormal(x / 2, scale_tril=scale))

    with pytest.raises(ValueError, match=r"guide site .z. should be masked as in the model, by law\.mask"):
        SVI(Whole("law").to(x.device))(x)


def test_masks_are_captured(x, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(0)
        loss_of = CapturedLoss(SVI(Seen(guide_mask="none").to(x.device)), mode)
        for rows in (x, x.roll(1, 0), x.roll(2, 0)):
            loss, terms = loss_of(rows)
            outcomes.append([loss.detach(), *terms.values()])
    assert not caplog.records
    for one, other in zip(outcomes[:3], outcomes[3:], strict=True):
        assert all(map(torch.equal, one, other))
