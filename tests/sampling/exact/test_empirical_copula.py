"""The empirical copula: the dependence of data, ties included, and what it is not given."""

import math

import pyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import torch

from probgen.sampling.exact.copulas import EmpiricalCopula
from tests import laws
from tests.sampling.exact.test_copulas import TWO, empirical, tensor, to_the_cube

float64 = torch.float64


@pytest.mark.parametrize("n", [2, 30])
def test_an_empirical_copula_integrates_to_one_with_uniform_margins(n):
    law = empirical(n=n)
    nodes = (torch.arange(400, dtype=float64) + 0.5) / 400
    x = torch.cartesian_prod(*(margin.icdf(nodes) for margin in (law.margins[0], dist.Uniform(0.0, 1.0))))
    x[:, 1] = x[:, 1].sqrt()  # the quantile of Beta(2, 1)
    margins = law.margins[0].log_prob(x[:, 0]) + law.margins[1].log_prob(x[:, 1])
    density = (law.log_prob(x) - margins).exp().reshape(400, 400)
    torch.testing.assert_close(density.mean(0), torch.ones(400, dtype=float64), rtol=1e-3, atol=0)
    torch.testing.assert_close(density.mean(1), torch.ones(400, dtype=float64), rtol=1e-3, atol=0)


def test_an_empirical_copula_keeps_the_dependence_of_the_data():
    """Cells of the unit square hold as many draws as its density says."""
    law = empirical()
    draws = law.sample((40_000,))
    v = torch.stack([-torch.expm1(-draws[:, 0]), draws[:, 1] ** 2], -1)
    counts = torch.histogramdd(v, bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist.flatten()
    rank = torch.arange(1, 31, dtype=float64)
    edges = torch.linspace(0, 1, 5, dtype=float64)
    steps = torch.from_numpy(scipy.stats.beta(rank[:, None], 31 - rank[:, None]).cdf(edges.numpy())).diff(
        dim=1
    )
    expected = (
        40_000 * torch.einsum("ia,ib->ab", *(steps[r - 1] for r in law.ranks.unbind(-1))).flatten() / 30
    )
    assert ((counts - expected) / expected.sqrt()).abs().max() < 5.5
    uniform = 40_000 / 16
    assert ((counts - uniform) / math.sqrt(uniform)).abs().max() > 20  # independence would be seen


def tied(kind, order="given"):
    """Integers with ties: 300 independent bits, 200 equal rows, or pairs that rise together."""
    generator = torch.Generator().manual_seed(5)
    if kind == "constant":
        return torch.zeros(200, 2)
    if kind == "bits":
        x = torch.stack([torch.arange(300) % 2, torch.arange(300) // 2 % 2], -1)
    else:
        low = torch.randint(0, 4, (300,), generator=generator)
        x = torch.stack([low, low + torch.randint(0, 2, (300,), generator=generator)], -1)
    if order == "sorted":
        return x[(10 * x[:, 0] + x[:, 1]).argsort()].double()
    return x[torch.randperm(300, generator=generator)].double()


NORMALS = [dist.Normal(torch.zeros((), dtype=float64), 1.0)] * 2


@pytest.mark.parametrize("order", ["given", "sorted"])
@pytest.mark.parametrize("kind", ["bits", "constant"])
def test_ties_make_no_dependence(kind, order):
    """The samples are exactly independent, so that the draws are, whatever the order of the samples."""
    law = EmpiricalCopula(tied(kind, order), NORMALS)
    u = torch.special.ndtr(law.sample((40_000,)))
    for one in u.unbind(-1):
        laws.check_goodness_of_fit(one, to_the_cube)
    counts = torch.histogramdd(u, bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert ((counts - 2_500) / 50).abs().max() < 5.5
    x = law.sample((20,))
    expected = torch.stack([m.log_prob(one) for m, one in zip(NORMALS, x.unbind(-1), strict=True)]).sum(0)
    torch.testing.assert_close(law.log_prob(x), expected, rtol=1e-11, atol=1e-11)


def test_ties_have_the_mean_density_of_their_ranks():
    """Draws, density, and what both should be, by the sum over all ranks of a tie, in any order."""
    samples = tied("pairs")
    law, other = (EmpiricalCopula(x, NORMALS) for x in (samples, tied("pairs", "sorted")))
    v = torch.rand(50, 2, dtype=float64)
    x = torch.special.ndtri(v)
    rank = torch.arange(1, 301, dtype=float64)
    shape = scipy.stats.beta(rank[:, None], 301 - rank[:, None])

    def of_samples(of_ranks):
        """The mean over the ranks of each sample's tie, by coordinate."""
        for k, column in enumerate(samples.unbind(-1)):
            ties = (column[:, None] == column.sort().values).to(float64)
            yield (ties / ties.sum(1, keepdim=True)) @ of_ranks(k)

    first, second = of_samples(lambda k: torch.from_numpy(shape.pdf(v[:, k].numpy())))
    expected = (first * second).mean(0).log() + dist.Normal(0.0, 1.0).log_prob(x).sum(-1)
    for one in (law, other, EmpiricalCopula(samples.int(), NORMALS)):
        torch.testing.assert_close(one.log_prob(x), expected, rtol=1e-9, atol=1e-9)

    edges = torch.linspace(0, 1, 5, dtype=float64)
    first, second = of_samples(lambda k: torch.from_numpy(shape.cdf(edges.numpy())).diff(dim=1))
    cells = 40_000 * torch.einsum("ia,ib->ab", first, second) / 300
    for one in (law, other):
        u = torch.special.ndtr(one.sample((40_000,)))
        counts = torch.histogramdd(u, bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
        assert ((counts - cells) / cells.sqrt()).abs().max() < 5.5
    assert ((cells - 2_500) / 50).abs().max() > 20  # independence would be seen


def test_ties_far_out():
    """Where every sample's density underflows, the mean over a tie is right in logs."""
    samples, x = tied("pairs"), tensor(-25.0, 20.0)
    law, rank = EmpiricalCopula(samples, NORMALS), torch.arange(1, 301, dtype=float64)
    total = dist.Normal(0.0, 1.0).log_prob(x).sum() - math.log(300)
    kernels = 0
    for column, z in zip(samples.unbind(-1), x, strict=True):
        constant = math.lgamma(301) - rank.lgamma() - (301 - rank).lgamma()
        ties = (column[:, None] == column.sort().values).to(float64)
        levels = (rank - 1) * torch.special.log_ndtr(z) + (300 - rank) * torch.special.log_ndtr(-z)
        kernels = kernels + ((ties / ties.sum(1, keepdim=True)).log() + constant + levels).logsumexp(1)
    torch.testing.assert_close(law.log_prob(x), total + kernels.logsumexp(0), rtol=1e-11, atol=0)
    assert law.log_prob(x) < -1e4
    assert law.log_prob(torch.full((2,), math.inf, dtype=float64)).isneginf()


def test_empirical_copulas_refuse_what_is_no_table_of_real_numbers():
    for samples, kind in (
        (torch.ones(3, 2) * 1j, "torch.complex64"),
        (torch.eye(2).to_sparse(), "torch.sparse_coo"),
        ([[1.0, 2.0]], "a list: take torch.as_tensor"),
    ):
        with pytest.raises(TypeError, match=kind):
            EmpiricalCopula(samples, TWO)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint64, torch.int8, torch.float8_e5m2])
def test_ranks_in_any_dtype(dtype):
    values = torch.tensor([[3, 0], [1, 1], [2, 1]])
    samples = values.to(dtype)
    if dtype == torch.uint64:  # on both sides of 2⁶³
        samples = (2 * values).to(dtype) * torch.tensor(2**61, dtype=dtype)
    law = EmpiricalCopula(samples, TWO)
    assert law.ranks.tolist() == [[3, 1], [1, 2], [2, 2]]
    assert law.ties.tolist() == [[1, 1], [1, 2], [1, 2]]
