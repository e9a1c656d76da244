"""Modes as places to start from."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import Density
from probgen.sampling import initial_positions, sample

FAR = torch.tensor([300.0, -50.0, 4.0], dtype=torch.float64)
WIDTHS = torch.tensor([20.0, 0.5, 3.0], dtype=torch.float64)


def density_at(centre, widths):
    return Density(
        lambda x: -0.5 * ((x - centre) / widths).square().sum(-1),
        event_shape=(3,),
        dtype=centre.dtype,
        device=centre.device,
    )


def test_chains_start_beside_the_mode(device, generator):
    starts = initial_positions(
        density_at(FAR.to(device), WIDTHS.to(device)), 64, start="optimum", generator=generator
    )
    noise = (starts - FAR.to(device)) / 0.1
    assert noise.abs().max() < 6  # of 192 standard normal numbers, once in 10⁶
    assert 0.6 < noise.std() < 1.4


def test_each_row_of_a_family_has_its_mode(generator):
    modes = torch.tensor([[40.0], [-7.0], [0.3]], dtype=torch.float64)
    density = Density(
        lambda x: -torch.log1p((x - modes).square()).sum(-1),
        event_shape=(1,),
        batch_shape=(3,),
        dtype=modes.dtype,
    )
    starts = initial_positions(density, 8, start="optimum", generator=generator)
    assert starts.shape == (8, 3, 1)
    assert (starts - modes).abs().max() < 0.6


def test_separate_modes_are_found_from_separate_starts(generator):
    """All four climbs end in one mode with probability 1/8, not at this seed."""
    density = Density(lambda x: torch.logaddexp(-2 * (x - 3).square(), -2 * (x + 3).square()))
    starts = initial_positions(density, 64, start="optimum", generator=generator)
    assert ((starts.abs() - 3).abs() < 0.6).all()
    assert 0 < (starts > 0).sum() < 64


def test_a_climb_turns_back_where_the_density_is_not_finite(generator):
    """The mode, at 8/9, is beside the end of the support, beyond which log_prob is NaN."""
    density = Density(lambda x: 9 * x + torch.log(1 - x))
    starts = initial_positions(density, 16, start="optimum", generator=generator)
    assert density.unconstrained_log_prob(starts).isfinite().all()
    assert (starts - 8 / 9).abs().max() < 0.6


def test_a_model_far_from_0_is_sampled(generator):
    y = 1e4 + torch.randn(50, generator=generator, dtype=torch.float64)

    def model(y):
        loc = pyro.sample("loc", dist.Normal(torch.zeros((), dtype=y.dtype), 1e6))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    chains = sample(
        Density.from_model(model, y),
        method="random_walk",
        chains=16,
        warmup=100,
        draws=100,
        init="optimum",
        generator=generator,
        progress=False,
    )
    assert abs(float(chains["loc"].mean() - y.mean())) < 0.1
    assert float(chains["loc"].std()) == pytest.approx(50**-0.5, rel=0.2)


def test_a_density_without_a_mode_is_climbed_for_a_while_only(generator):
    density = Density(lambda x: x.exp().clamp(max=1e30).sum(-1), event_shape=(2,))
    starts = initial_positions(density, 4, start="optimum", generator=generator)
    assert density.unconstrained_log_prob(starts).isfinite().all()


def test_a_density_without_gradients_has_no_climb(generator):
    density = Density(lambda x: -x.detach().square())
    with pytest.raises(ValueError, match="climbed to by gradients, which log_prob has not"):
        initial_positions(density, 4, start="optimum", generator=generator)
