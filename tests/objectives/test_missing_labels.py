"""Labels of which some are missing, in one batch: the bound is the exact one of each row."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import Pair
from probgen.capture.captured_loss import CapturedLoss
from probgen.data import filled, observed
from probgen.evaluation import log_likelihood
from probgen.objectives import ELBO, SVI, BetaELBO

PRIOR = (0.5, 0.2, 0.3)


class SemiSupervised(Pair):
    """y ~ Categorical, z ~ N(0, 1), x | y, z ~ N(m_y + s z, 1); q(y | x), q(z | x, y).

    The model of Kingma and others (2014), Semi-supervised learning with deep generative models, M2.

    Args:
        code: whether there is a z, s being 0 else.
        guided: whether the guide has missing labels, or leaves them to the model.
        masked: whether the guide masks them as the model does.
    """

    def __init__(self, *, code=True, guided=True, masked=False):
        super().__init__()
        self.code, self.guided, self.masked = code, guided, masked
        self.location = nn.Parameter(torch.tensor([-1.0, 2.0, 0.5], dtype=torch.float64))
        self.slope = nn.Parameter(torch.tensor(0.7 if code else 0.0, dtype=torch.float64))
        self.logits = nn.Parameter(torch.tensor([[0.4, -0.6], [0.0, 0.5], [0.1, 0.0]], dtype=torch.float64))
        self.of_z = nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        (y,) = context
        with pyro.plate("data", len(x)):
            law = dist.Categorical(x.new_tensor(PRIOR))
            y = pyro.sample("y", law, obs=filled(y), obs_mask=observed(y))
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0)) if self.code else x.new_zeros(())
            return pyro.sample("x", dist.Normal(self.location[y] + self.slope * z, 1.0), obs=x)

    def of_label(self, x):
        return dist.Categorical(logits=self.logits[:, 0] + self.logits[:, 1] * x[:, None])

    def guide(self, x=None, *context, n=1):
        (y,) = context
        known = observed(y)
        with pyro.plate("data", len(x)):
            if self.guided:
                with poutine.mask(mask=~known if self.masked else True):
                    y = torch.where(known, filled(y), pyro.sample("y_unobserved", self.of_label(x)))
            if self.code:
                shift = self.of_z[y] if self.guided else 0.0
                pyro.sample("z", dist.Normal(0.4 * x + shift, 0.8))

    def bounds(self, x):
        """Return KL(q(z | x, y) ‖ p(z)) and E[log p(x | y, z)], shape (n, labels)."""
        mean = 0.4 * x[:, None] + self.of_z
        kl = 0.5 * (0.64 + mean**2 - 1) - math.log(0.8)
        error = (x[:, None] - self.location - self.slope * mean) ** 2 + (0.8 * self.slope) ** 2
        return kl, -0.5 * (math.log(2 * math.pi) + error)

    def exact(self, x, y):
        """Return the bound, the KLs and the reconstruction, per datum."""
        known, log_prior = observed(y), x.new_tensor(PRIOR).log()
        log_q = self.of_label(x).logits
        weight = torch.where(known[:, None], nn.functional.one_hot(filled(y), 3).to(x), log_q.exp())
        kl_y = ((log_q - log_prior) * weight).sum(1)[~known].sum() / len(x)
        kl_z, log_x = ((weight * part).sum() / len(x) for part in self.bounds(x))
        log_y = log_prior[y[known]].sum() / len(x)
        kl_z = kl_z if self.code else torch.zeros_like(kl_z)
        return log_y + log_x - kl_y - kl_z, kl_y, kl_z, log_y + log_x


@pytest.fixture
def batch(device):
    x = torch.tensor([0.0, 1.0, 3.0, -2.0, 0.7], dtype=torch.float64, device=device)
    return x, torch.tensor([2, -1, -1, 0, 1], device=device)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("particles", [1, 3])
def test_bound_terms_and_gradient_are_exact_where_labels_are_all(masked, particles, batch):
    pair = SemiSupervised(code=False, masked=masked).to(batch[0].device)
    loss, terms = SVI(pair, ELBO(particles=particles))(*batch)
    elbo, kl_y, _, reconstruction = pair.exact(*batch)
    torch.testing.assert_close(-loss, elbo)
    torch.testing.assert_close(terms["kl"], kl_y.detach())
    torch.testing.assert_close(terms["reconstruction"], reconstruction.detach())
    weights = [pair.location, pair.logits]
    for one, other in zip(
        torch.autograd.grad(-loss, weights), torch.autograd.grad(elbo, weights), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("masked", [False, True])
def test_bound_and_terms_beside_a_code(masked, batch):
    pair = SemiSupervised(masked=masked).to(batch[0].device)
    torch.manual_seed(0)
    with torch.no_grad():
        loss, terms = SVI(pair, ELBO(particles=40_000))(*batch)
    _, kl_y, kl_z, reconstruction = (part.detach() for part in pair.exact(*batch))
    torch.testing.assert_close(terms["kl/y_unobserved"], kl_y)
    torch.testing.assert_close(terms["kl/z"], kl_z)
    assert abs(float(terms["reconstruction"] - reconstruction)) < 0.02  # 5 standard errors
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    torch.testing.assert_close(-loss, terms["elbo"])
    loss = SVI(pair, BetaELBO({"y_unobserved": 3.0})).to(batch[0].device)(*batch)[0]
    assert loss.isfinite()


def test_labels_that_the_guide_leaves_out_are_summed_out(batch):
    x, y = batch
    pair = SemiSupervised(code=False, guided=False).to(x.device)
    loss, terms = SVI(pair)(*batch)
    log_joint = x.new_tensor(PRIOR).log() + dist.Normal(pair.location, 1.0).log_prob(x[:, None])
    of_label = log_joint[torch.arange(len(x)), filled(y)]
    exact = torch.where(observed(y), of_label, log_joint.logsumexp(1))
    torch.testing.assert_close(-loss, exact.mean())
    torch.testing.assert_close(terms["reconstruction"], exact.mean().detach())
    (gradient,) = torch.autograd.grad(-loss, pair.location)
    torch.testing.assert_close(gradient, torch.autograd.grad(exact.mean(), pair.location)[0])


@pytest.mark.parametrize("guided", [True, False])
def test_likelihoods_sum_missing_labels_out(guided, batch):
    x, y = batch
    pair = SemiSupervised(guided=guided).to(x.device)
    scale = (1 + pair.slope**2).sqrt()
    log_joint = x.new_tensor(PRIOR).log() + dist.Normal(pair.location, scale).log_prob(x[:, None])
    exact = torch.where(observed(y), log_joint[torch.arange(len(x)), filled(y)], log_joint.logsumexp(1))
    found = log_likelihood(pair, x, y, particles=20_000, seed=0)
    assert abs(found.value - float(exact.mean().detach())) < 0.02
    alone = SemiSupervised(code=False, guided=guided).to(x.device)
    log_joint = x.new_tensor(PRIOR).log() + dist.Normal(pair.location, 1.0).log_prob(x[:, None])
    exact = torch.where(observed(y), log_joint[torch.arange(len(x)), filled(y)], log_joint.logsumexp(1))
    assert log_likelihood(alone, x, y, particles=2).value == pytest.approx(
        float(exact.mean().detach()), abs=1e-6
    )


def test_pyros_bound_is_the_same_where_the_guide_is_masked_as_the_model(batch):
    pyros = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)

    class Marked(SemiSupervised):
        def guide(self, x=None, *context, n=1):
            with poutine.infer_config(config_fn=lambda site: {"enumerate": "parallel"}):
                super().guide(x, *context)

    x, y = batch[0].float(), batch[1]
    terms = SVI(Marked(code=False, masked=True).to(x.device).float(), pyros)(x, y)[1]
    ours = SVI(SemiSupervised(code=False).to(x.device).float())(x, y)[1]
    torch.testing.assert_close(terms, ours)
    with pytest.raises(ValueError, match="guide site 'y_unobserved' should have the mask that it has in the"):
        SVI(Marked(code=False).to(x.device).float(), pyros)(x, y)


def test_it_is_captured_to_the_same_bits(batch, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        objective = SVI(SemiSupervised().to(batch[0].device), ELBO(particles=2))
        loss_of, optimizer = CapturedLoss(objective, mode), torch.optim.SGD(objective.parameters(), lr=0.01)
        for turn in range(5):
            loss, terms = loss_of(*(part.roll(turn) for part in batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.pair.parameters()])
    assert not caplog.records
    assert all(map(torch.equal, *outcomes))
