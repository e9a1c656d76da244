import math
import signal

import pytest
import torch
from torch.distributions import Dirichlet, FisherSnedecor, Gamma, Normal, constraints

from probgen.core import Density
from probgen.sampling import RunState, mala, random_walk, run, sample
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp
from probgen.sampling.markov.warmup.until_agreement import Agreement, warm_up_until_agreed
from tests.pairs import LinearGaussian

NORMAL = Density(lambda x: -0.5 * x**2)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first.names)


def test_shapes_and_names(device, dtype, generator):
    density = Density(
        lambda v: (
            Gamma(2.0, 1.0).log_prob(v["rate"]) + Dirichlet(torch.ones(3, device=device)).log_prob(v["p"])
        ),
        support={"rate": constraints.positive, "p": constraints.simplex},
        event_shape={"rate": (), "p": (3,)},
        batch_shape=(2,),
        dtype=dtype,
        device=device,
    )
    chains = sample(density, chains=5, warmup=100, draws=20, generator=generator)
    assert chains.names == ("rate", "p")
    assert chains["rate"].shape == (5, 20, 2)
    assert chains["p"].shape == (5, 20, 2, 3)
    assert chains["p"].dtype == dtype
    assert (chains["rate"] > 0).all()
    torch.testing.assert_close(chains["p"].sum(-1), torch.ones(5, 20, 2, dtype=dtype, device=device))
    assert chains.statistics["log_prob"].shape == (5, 20, 2)
    assert chains.statistics["acceptance"].shape == (5, 20, 2)


def test_moments_of_a_positive_law(device, dtype, generator):
    density = Density.from_distribution(Gamma(*torch.tensor([3.0, 2.0], dtype=dtype, device=device)))
    draws = sample(density, chains=500, warmup=300, draws=200, thin=5, generator=generator)["x"]
    mean, sd = draws.mean(1), draws.std(1)
    for of_chains, truth in ((mean, 1.5), (sd**2, 0.75)):
        z = (of_chains.mean() - truth) / (of_chains.std() / math.sqrt(500))
        assert abs(z) < 5.5


def test_the_posterior_of_a_pair(generator):
    pair, x = LinearGaussian(), torch.randn(3, 3)
    draws = sample(pair.posterior(x), chains=200, warmup=500, draws=200, thin=5, generator=generator)["z"]
    assert draws.shape == (200, 200, 3, 2)
    of_chains = draws.mean(1)
    exact = pair.exact_posterior(x)
    z = (of_chains.mean(0) - exact.mean) / (of_chains.std(0) / math.sqrt(200))
    assert z.abs().max() < 5.5
    torch.testing.assert_close(draws.flatten(0, 1).std(0), exact.stddev, rtol=0.05, atol=0)


def test_thinning_keeps_every_other_step():
    transition, start = random_walk(NORMAL, scale=1.0), torch.zeros(4, 1)
    every = run(transition, start, draws=6, generator=torch.Generator().manual_seed(1))
    third = run(transition, start, draws=2, thin=3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(every["position"][:, 2::3], third["position"])
    acceptance = every.statistics["acceptance"].reshape(4, 2, 3).mean(-1)
    torch.testing.assert_close(third.statistics["acceptance"], acceptance)


def test_a_resumed_run_is_the_longer_run():
    transition = random_walk(NORMAL, scale=1.0)
    whole = run(
        transition, torch.zeros(4, 1), draws=70, density=NORMAL, generator=torch.Generator().manual_seed(1)
    )
    first = run(
        transition, torch.zeros(4, 1), draws=30, density=NORMAL, generator=torch.Generator().manual_seed(1)
    )
    torch.rand(3)
    rest = run(transition, first.state, draws=40, density=NORMAL)
    assert torch.equal(whole["x"], torch.cat([first["x"], rest["x"]], 1))


def test_the_same_seed_gives_the_same_bits():
    first, second = (
        sample(NORMAL, chains=3, warmup=50, draws=20, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert same(first, second)
    torch.manual_seed(7)
    assert same(first, sample(NORMAL, chains=3, warmup=50, draws=20))


def test_ctrl_c_keeps_what_was_drawn():
    calls = 0

    def log_prob(x):
        nonlocal calls
        calls += 1
        if calls == 40:
            raise KeyboardInterrupt
        return -0.5 * x**2

    density = Density(log_prob)
    transition = random_walk(density, scale=1.0)
    chains = run(transition, torch.zeros(4, 1), draws=100, density=density)
    assert chains["x"].shape == (4, 38)
    assert chains.interrupted
    assert any("interrupted after 38 draws" in finding for finding in chains.diagnose())
    assert run(transition, chains.state, draws=5, density=density)["x"].shape == (4, 5)


def test_an_interrupted_run_goes_on_to_the_bit():
    """Ctrl-C between two draws loses the steps since the last one, and their noise is drawn again."""
    calls, stop = 0, 40

    def log_prob(x):
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return -0.5 * x**2

    density = Density(log_prob)
    transition = random_walk(density, scale=1.0)

    def start(draws):
        generator = torch.Generator().manual_seed(1)
        return run(transition, torch.zeros(4, 1), draws=draws, thin=3, density=density, generator=generator)

    first = start(20)
    assert first["x"].shape == (4, 12)
    rest = run(transition, first.state, draws=8, thin=3, density=density)
    assert torch.equal(torch.cat([first["x"], rest["x"]], 1), start(20)["x"])


BROKEN = {
    "log_prob": (lambda s, g: (s._replace(log_prob=s.log_prob + 0.01), g), "in chain 0 its log_prob is"),
    "gradient": (lambda s, g: (s._replace(gradient=s.gradient * 1.01), g), "in chain . its gradient is"),
    "position": (lambda s, g: (s._replace(position=s.position.flip(0)), g), "in chain . its log_prob is"),
    "chains": (lambda s, g: (s._replace(log_prob=s.log_prob[:2]), g), r"'log_prob': '\(4,\) .* but is"),
    "type": (lambda s, g: (s._replace(gradient=s.gradient.double()), g), r"\(4, 1\) torch.float64"),
    "generator": (lambda s, g: (s, g[:100]), "the generator's state should be one of torch's"),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_a_state_that_was_damaged_on_disk_is_refused(damage, message, tmp_path, generator):
    transition = mala(NORMAL, scale=1.0)
    state, noise = run(transition, torch.randn(4, 1, generator=generator), draws=5, generator=generator).state
    torch.save(RunState(*damage(state, noise)), tmp_path / "state.pt")
    read = torch.load(tmp_path / "state.pt", weights_only=True)
    with pytest.raises(ValueError, match=message):
        run(transition, read, draws=5)


def test_a_state_of_another_density_is_refused(generator):
    state = run(random_walk(NORMAL, scale=1.0), torch.randn(4, 1), draws=5, generator=generator).state
    other = Density(lambda x: -0.7 * x**2)
    with pytest.raises(ValueError, match="of its positions: is the density another one"):
        run(random_walk(other, scale=1.0), state, draws=5)


def interrupted_at(calls, draws, generator):
    """Run a walk in which Ctrl-C is pressed, by a real signal, at given calls of the log-density."""
    count = 0

    def log_prob(x):
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(signal.SIGINT)
        return -0.5 * x**2

    density = Density(log_prob)
    return run(
        random_walk(density, scale=1.0),
        torch.zeros(4, 1),
        draws=draws,
        thin=3,
        density=density,
        generator=generator,
    )


def test_ctrl_c_waits_for_the_end_of_a_draw():
    whole = interrupted_at((), 20, torch.Generator().manual_seed(1))
    first = interrupted_at((30,), 20, torch.Generator().manual_seed(1))  # on the way to draw 10
    assert first.interrupted
    assert first["x"].shape == (4, 10)
    rest = run(first.transition, first.state, draws=10, thin=3, density=NORMAL)
    assert torch.equal(torch.cat([first["x"], rest["x"]], 1), whole["x"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        interrupted_at((30, 31), 20, torch.Generator())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_is_left_alone():
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append("ctrl-c"))
    try:
        chains = interrupted_at((30,), 20, torch.Generator())
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert seen == ["ctrl-c"]
    assert chains["x"].shape == (4, 20)


@pytest.mark.parametrize("method", ["hmc", "random_walk", "tempered"])
def test_a_state_on_disk_goes_on_to_the_bit(method, tmp_path):
    generator = torch.Generator().manual_seed(1)
    warmup = 250 if method == "tempered" else 40
    first = sample(NORMAL, method=method, chains=4, warmup=warmup, draws=5, generator=generator)
    torch.save(first.state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = run(first.transition, state, draws=5, density=NORMAL)
    assert torch.equal(again["x"], run(first.transition, first.state, draws=5, density=NORMAL)["x"])


def test_a_warm_up_goes_on_until_chains_agree(generator, caplog):
    """Chains that start thousands of deviations apart need more steps than those that start together."""
    taken = []

    def warm_up(density, position, *, steps, generator):
        taken.append(steps)
        scale = 2.4 if position.std() < 10 else 8.0
        transition = random_walk(density, scale=scale)
        state = transition.init(position)
        for _ in range(steps):
            state, _ = transition.step(state, generator)
        return WarmedUp(transition, state.position, None)

    near = torch.randn(8, 1, dtype=torch.float64, generator=generator)
    density = Density(lambda x: -0.5 * x**2, dtype=torch.float64)
    found = warm_up_until_agreed(warm_up, density, near, generator=generator)
    assert taken == [250]
    taken.clear()
    far = 3000.0 * torch.arange(8.0, dtype=torch.float64).unsqueeze(-1)
    found = warm_up_until_agreed(warm_up, density, far, generator=generator)
    assert taken[:2] == [250, 500]
    assert (found.position.abs() < 6).all()
    assert not caplog.messages


def test_chains_that_never_agree_are_said_to(generator, caplog):
    taken = []

    def warm_up(density, position, *, steps, generator):
        taken.append(steps)
        return WarmedUp(random_walk(density, scale=0.1), position, None)

    modes = Density(lambda x: torch.logaddexp(-50 * (x - 9) ** 2, -50 * (x + 9) ** 2))
    start = torch.tensor([[9.0], [-9.0]])
    warm_up_until_agreed(warm_up, modes, start, generator=generator)
    assert taken == [250, 500, 1000, 2000, 4000, 8000]
    assert len(caplog.messages) == 1
    assert "the warm-up ended before the chains agreed: R-hat is " in caplog.messages[0]


def test_sample_warms_up_until_chains_agree(generator):
    chains = sample(NORMAL, chains=16, warmup="auto", draws=50, generator=generator)
    assert abs(chains["x"].std() - 1) < 0.15


def test_only_the_sites_asked_for_are_kept(generator):
    density = Density(
        lambda v: -0.5 * v["a"] ** 2 - v["b"],
        support={"a": constraints.real, "b": constraints.positive},
        event_shape={"a": (), "b": ()},
    )
    chains = sample(density, chains=4, warmup=50, draws=120, keep=["b"], generator=generator)
    assert chains.names == ("b",)
    assert chains["b"].shape == (4, 120)
    with pytest.raises(ValueError, match=r"keep should name sites among \['a', 'b'\] but names 'c'"):
        sample(density, chains=4, warmup=50, draws=12, keep=["b", "c"], generator=generator)


def test_progress(capsys):
    run(random_walk(NORMAL, scale=1.0), torch.zeros(4, 1), draws=120, progress=True)
    shown = capsys.readouterr().err
    assert "120/120" in shown
    assert "acceptance=0." in shown
    assert "r_hat=1." in shown


def test_the_agreement_shown_is_the_ratio_of_variances(generator):
    draws = torch.randn(5, 40, 2, dtype=torch.float64, generator=generator) + 1e3
    draws[0] += 1
    agreement = Agreement()
    for draw in draws.unbind(1):
        agreement.add(draw)
    within, between = draws.var(1).mean(0), draws.mean(1).var(0)
    expected = ((39 / 40 * within + between) / within).sqrt()
    torch.testing.assert_close(agreement.r_hat(), expected)
    assert agreement.shown() == {"r_hat": f"{float(expected.max()):.3f}"}


def test_a_single_chain_has_no_agreement_to_show():
    agreement = Agreement()
    agreement.add(torch.zeros(1, 2))
    assert agreement.shown() == {}


def test_starting_points_are_found_where_the_density_is_positive(generator):
    density = Density(lambda x: torch.where(x > 1, -x, -torch.inf))
    assert (sample(density, chains=50, warmup=50, draws=5, generator=generator)["x"] > 1).all()


def test_starting_points_of_the_user(generator):
    density = Density.from_distribution(Gamma(torch.tensor([2.0, 3.0]), torch.ones(2)), name="rate")
    init = torch.full((6, 2), 1e-3)
    for given in (init, {"rate": init}):
        chains = sample(density, chains=6, warmup=50, draws=5, init=given, generator=generator)
        assert chains["rate"].shape == (6, 5, 2)


def test_draws_carry_no_graph():
    scale = torch.tensor(1.0, requires_grad=True)
    density = Density.from_distribution(Normal(0.0, scale))
    assert not sample(density, chains=2, warmup=20, draws=5)["x"].requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "hcm"}, "method should be one of hmc, .* but got 'hcm'"),
        ({"chains": 0}, "chains should be at least 1 but got 0"),
        ({"draws": 0}, "draws should be at least 1 but got 0"),
        ({"thin": 0}, "thin should be at least 1 but got 0"),
        ({"warmup": "long"}, "warmup should be a number of steps or 'auto' but got 'long'"),
        ({"warmup": "auto", "chains": 1}, "warmup='auto' needs at least 2 chains but got 1"),
        ({"warmup": 0}, "warm-up should have at least 20 steps but got 0"),
        ({"init": torch.zeros(3)}, r"init of site 'x' should have shape \(64,\) but has \(3,\)"),
        ({"init": {"y": torch.zeros(64)}}, r"init should name the sites \['x'\] but names \['y'\]"),
        ({"init": "mode"}, "init should be values, 'prior' or 'optimum' but got 'mode'"),
        ({"init": "prior"}, "only the density of a Pyro model has a prior to start from"),
        ({"init": torch.full((64,), -1.0)}, "init of site 'x' should be in the support Greater"),
    ],
)
def test_bad_options(options, message):
    density = Density(lambda x: -x, support=constraints.positive)
    with pytest.raises(ValueError, match=message):
        sample(density, **options)


@pytest.mark.parametrize(
    ("log_prob", "message"),
    [
        (
            lambda x: torch.full_like(x, -torch.inf),
            r"no initial point .* 200 tries; at the last one it was -inf at x = .*init=",
        ),
        (lambda x: torch.full_like(x, torch.nan), r"no initial point .* it was nan at x = .*init="),
        (lambda x: torch.zeros(()), r"log_prob should return shape \(64,\)"),
    ],
)
def test_bad_densities(log_prob, message):
    with pytest.raises(ValueError, match=message):
        sample(Density(log_prob))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_proposals_that_are_not_finite_are_counted_and_logged(value, generator, caplog):
    density = Density(lambda x: torch.where(x > 2, value, -0.5 * x**2), name="w", batch_shape=(2,))
    transition = random_walk(density, scale=2.0)
    chains = run(transition, torch.zeros(8, 2, 1), draws=100, thin=2, density=density, generator=generator)
    counts = chains.statistics["not_finite"]
    chain, draw, _ = counts.nonzero()[0].tolist()
    assert counts.shape == (8, 100, 2)
    assert counts.max() == 2
    assert caplog.messages == [
        f"log_prob was NaN or +inf at {counts.sum()} of 3200 proposals, which were refused; the first of "
        f"chain {chain} was on the way to draw {draw}"
    ]
    assert (chains["w"] <= 2).all()
    assert (chains["w"][:, 0] != chains["w"][:, -1]).all()


def test_a_law_that_validates_its_values_does_not_stop_the_chains(generator):
    """exp(u) overflows on the way, which the law would refuse aloud."""
    density = Density.from_distribution(FisherSnedecor(4.0, 0.1), name="rate")
    transition = random_walk(density, scale=40.0)
    chains = run(transition, torch.full((50, 1), 69.0), draws=20, density=density, generator=generator)
    assert chains["rate"].isfinite().all()
    assert chains.statistics["not_finite"].any()


def test_a_start_that_is_not_finite_raises():
    density = Density(lambda x: torch.where(x > 2, -torch.inf, -0.5 * x**2))
    with pytest.raises(ValueError, match=r"log_prob should be finite but is -inf at position = \[3\.0\]"):
        run(random_walk(density, scale=1.0), torch.full((2, 1), 3.0), draws=5)
