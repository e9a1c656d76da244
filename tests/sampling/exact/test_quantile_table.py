"""Tables of quantiles: as exact as what they are made from, or NaN."""

import math

import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF
from probgen.sampling.exact.tables.quantile_table import (
    COARSE,
    FINE,
    LOWEST,
    STEEP,
    QuantileTable,
    drawn,
    quantiles,
    table_for,
)  # fmt: skip
from tests import laws

float64 = torch.float64
CPU = torch.device("cpu")


def u_of(z):
    return torch.where(z > 0, z, 1 + z)


def normal(z):
    return torch.special.ndtri(z.abs()) * z.sign()


def bumps(z):
    """Half the mass around -5, half around 5, and nothing between."""
    z = z - z.round()
    inner = 2 * z - (2 * z).round()
    return normal(inner) / 10 - 5 * z.sign()


def atoms(z):
    """Uniform on [0, 1], with atoms of 0.3 at 0 and 1e-6 at 0.5."""
    u = (u_of(z) - 0.3).clamp(min=0) / 0.7
    return torch.where(u < 0.5, u, torch.maximum(u - 1e-6, torch.full_like(u, 0.5)))


def pole(z):
    return u_of(z) ** 15


def tiny(z):
    return normal(z) * 1e-250


def cauchy(z):
    return -1 / torch.tan(torch.pi * z)


def far(z):
    return 1e6 + normal(z) / 1e3


def places(n=60_000):
    """Signed tail probabilities, evenly in u and evenly in its logarithm."""
    generator = torch.Generator().manual_seed(3)
    even = torch.rand(n, dtype=float64, generator=generator) - 0.5 + LOWEST
    tails = 2.0 ** (-1 - 52.9 * torch.rand(n, dtype=float64, generator=generator))
    return torch.cat([even, tails, -tails])[:, None]


@pytest.mark.parametrize("resolution", [COARSE, FINE, STEEP])
@pytest.mark.parametrize("quantile", [normal, bumps, atoms, pole, tiny, cauchy, far])
def test_look_up(quantile, resolution):
    table = QuantileTable(quantile, 1, resolution, CPU)
    z = places()
    x, exact = table.look_up(z), quantile(z)
    known = ~x.isnan()
    assert float((~known[: len(z) // 3]).double().mean()) <= table.missing + 1e-3 < 0.01
    step = 1e-6 * z.abs()
    slope = (quantile(z + step) - quantile(z - step)).abs() / (2 * step)
    room = slope * torch.minimum(3e-7 * z.abs(), torch.tensor(2e-11, dtype=float64)) + 1e-14 * exact.abs()
    assert ((x - exact).abs() <= room)[known].all()


def test_a_kink_between_nodes_is_seen():
    def bent(z):
        return u_of(z) + 1e-7 * (u_of(z) - 0.123456).clamp(min=0)

    table = QuantileTable(bent, 1, COARSE, CPU)
    z = places()
    x = table.look_up(z)
    assert ((x - bent(z)).abs() < 2e-11)[~x.isnan()].all()


def test_what_a_table_lacks_comes_from_the_function():
    table = QuantileTable(bumps, 1, COARSE, CPU)
    z = torch.tensor([[0.4999], [-0.4999999999], [LOWEST / 4], [-LOWEST / 1e9], [0.3]], dtype=float64)
    torch.testing.assert_close(quantiles(table, z, bumps), bumps(z), rtol=1e-10, atol=1e-10)


def test_tables_of_a_family():
    scale = torch.tensor([1.0, 10.0, 0.1], dtype=float64)
    table = QuantileTable(lambda z: normal(z) * scale, 3, COARSE, CPU)
    z = places(3000).reshape(-1, 3)
    torch.testing.assert_close(table.look_up(z), normal(z) * scale, rtol=1e-9, atol=1e-12)


def test_draws_stay_between_the_ends():
    ends = (torch.tensor(-1.0, dtype=float64), torch.tensor(2.0, dtype=float64))
    table = QuantileTable(normal, 1, FINE, CPU)
    draws = drawn(table, 100_000, normal, torch.Generator().manual_seed(1), ends)
    assert (float(draws.min()), float(draws.max())) == (-1.0, 2.0)


@pytest.mark.parametrize("n", [1, 2**18, 600_001])
def test_draws_do_not_depend_on_threads(n):
    table = QuantileTable(bumps, 1, COARSE, CPU)
    draws = []
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        draws.append(drawn(table, n, bumps, torch.Generator().manual_seed(7)))
    torch.set_num_threads(threads)
    assert draws[0].shape == (n, 1)
    assert torch.equal(*draws)
    assert not draws[0].isnan().any()


@pytest.mark.parametrize("resolution", [COARSE, FINE])
def test_draws_have_the_law(resolution, device):
    table = QuantileTable(normal, 1, resolution, device)
    draws = drawn(table, 400_000, normal, torch.Generator(device).manual_seed(1)).cpu()
    laws.check_goodness_of_fit(draws, torch.special.ndtr)
    laws.assert_power(draws, torch.special.ndtr, shift=0.02)
    half = draws.view(2, -1)
    assert abs(float(torch.corrcoef(half)[0, 1])) < 6 / math.sqrt(200_000)


def test_a_table_is_made_where_it_pays():
    kept = {}
    assert table_for(1000, 1, normal, CPU, kept) is None
    assert table_for(4 * COARSE.cost, 1, normal, CPU, kept) is kept[COARSE]
    assert table_for(8 * FINE.cost, 1, normal, CPU, kept) is kept[FINE]
    assert table_for(8 * FINE.cost, 1, pole, CPU, steep := {}) is steep[STEEP]
    assert all(table_for(8 * FINE.cost, 1, quantile, CPU, {}).whole for quantile in (normal, cauchy))
    assert table_for(8 * FINE.cost, 2, lambda z: normal(z), CPU, kept) is kept[COARSE]

    def rough(z):
        return u_of(z) + 1e-6 * (1e5 * u_of(z)).floor()

    assert table_for(4 * COARSE.cost, 1, rough, CPU, {}) is None


@pytest.mark.parametrize("n", [100, 100_000])
def test_a_generator_fixes_the_draws(n, device):
    law = InverseCDF(log_prob=lambda x: -x, support=constraints.positive, device=device)
    first, second, third = (
        law.sample((n,), generator=torch.Generator(device).manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_mixed_cdf_is_drawn_by_table():
    def cdf(x):
        return torch.where(x < 0, 0.0, 0.3 + 0.35 * x.clamp(0, 1) + 0.35 * (x - 2).clamp(0, 1))

    draws = InverseCDF(cdf=cdf, dtype=float64).sample((400_000,), generator=torch.Generator().manual_seed(1))
    laws.check_goodness_of_fit(draws, cdf)
    assert ((draws > 1) & (draws < 2)).sum() == 0
    assert float((draws == 0).double().mean()) == pytest.approx(0.3, abs=0.005)


def test_a_cdf_that_changes_is_not_drawn_from_an_old_table():
    scale = torch.tensor(1.0, dtype=float64)
    law = InverseCDF(cdf=lambda x: -torch.expm1(-x / scale), support=constraints.positive, dtype=float64)
    for value in (1.0, 3.0):
        scale.fill_(value)
        assert float(law.sample((100_000,)).mean()) == pytest.approx(value, rel=0.03)
