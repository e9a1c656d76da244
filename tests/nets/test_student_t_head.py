"""A Student-t head: its law by SciPy, its variance, gradients, recovery of what made the data."""

import math

import torch
from scipy import stats

from probgen import fit
from probgen.nets import MLP, StudentTHead
from probgen.objectives import MaximumLikelihood


def test_the_law_is_that_of_its_numbers():
    torch.manual_seed(0)
    head = StudentTHead(MLP(3, 2)).double()
    z, x = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    location, s = head.blocks(z).detach().unbind(-2)
    exact = stats.t.logpdf(x.numpy(), 6.0, location.numpy(), (5 * torch.asinh(s / 5)).exp().numpy()).sum(1)
    law = head(z)
    torch.testing.assert_close(law.log_prob(x).detach(), torch.from_numpy(exact))
    assert torch.isfinite(law.base_dist.variance).all()
    slopes = torch.autograd.grad(law.log_prob(x).sum(), list(head.parameters()))
    assert all(bool(slope.any()) for slope in slopes)


def test_the_degrees_of_freedom_are_learned():
    torch.manual_seed(0)
    data = torch.from_numpy(stats.t(3.0).rvs((4000, 1), random_state=0))

    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.numbers = torch.nn.Parameter(torch.zeros(2).double())

        def forward(self, *context):
            return self.numbers.expand(4000, 2)

    head = StudentTHead(Constant()).double()
    adam = lambda weights: torch.optim.Adam(weights, 0.02)  # noqa: E731
    fit(MaximumLikelihood(head), data, steps=300, batch_size=4000, optimizer=adam, seed=0, progress=False)
    assert (
        abs(float(head.log_freedom.detach()) - math.log(1.0)) < 0.6
    )  # ν of 3, to 4.4 standard errors of 0.13
    assert abs(float(head.net.numbers[1].detach())) < 0.12
