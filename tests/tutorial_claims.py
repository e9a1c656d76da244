"""What the prose of each tutorial says, as assertions on the names that its cells leave behind."""

import math
from types import SimpleNamespace

import pytest

from tests.tutorial_claims_on_contests import direct_or_indirect
from tests.tutorial_claims_on_judging import how_good_is_a_generative_model
from tests.tutorial_claims_on_sequences import models_that_remember, sentences_as_points


def from_uniforms_to_digits(v: SimpleNamespace) -> None:
    assert v.u.equal(v.same)
    assert v.y.mean().item() == pytest.approx(0.497, abs=5e-4)
    assert v.gap_exponential < 0.0075
    assert v.gap_mixture < 0.01
    assert v.gap_normal < 0.0195
    assert v.law.report().u_error == 0
    assert (len(v.digits.train), len(v.digits.test)) == (898, 899)
    assert (v.one_pixel.icdf(v.torch.tensor([0.1, 0.5, 0.9])) * 16).tolist() == [0, 12, 16]
    assert v.real == pytest.approx(0.39, abs=0.005)
    assert abs(v.on_its_own) < 3 / math.sqrt(20_000)

    assert abs(v.floor.value) < 2 * v.floor.stderr
    assert v.p_floor > 0.05
    assert v.pixel_distance.value == pytest.approx(0.005, abs=5e-4)
    assert v.pixel_distance.value > 30 * v.pixel_distance.stderr
    assert v.p_pixels == 1 / 1000
    assert v.gmmn_distance.value == pytest.approx(0.001, abs=5e-4)
    assert v.gmmn_distance.value > 3 * v.gmmn_distance.stderr

    assert v.losses[0] == v.losses[1] == pytest.approx(183.07, abs=0.01)
    assert (v.elbo, v.reconstruction, v.kl) == pytest.approx((-100.3, -97.0, 3.3), abs=0.6)
    assert v.elbo == pytest.approx(v.reconstruction - v.kl)
    assert 3.5 < v.history.values("elbo")[-1] - v.elbo < 6.5

    mean = v.comparison.summary().xs("mean", axis=1, level=1)
    column = mean.to_dict()
    accuracy, energy = column["c2st_accuracy"], column["energy_distance"]
    learned = ["pixels", "gmmn", "vae, 2", "vae, 16"]
    expected = {
        "energy_distance": [0.023, 0.001, 0.013, 0.007],
        "c2st_accuracy": [0.98, 0.87, 0.90, 0.81],
        "density": [0.00, 0.38, 0.03, 0.10],
        "coverage": [0.02, 0.62, 0.11, 0.27],
        "nn_ratio": [1.96, 1.31, 1.71, 1.58],
    }
    for metric, values in expected.items():
        assert mean.loc[learned, metric].to_list() == pytest.approx(values, rel=0.1, abs=0.05), metric
    assert energy["gmmn"] < min(energy[name] for name in learned if name != "gmmn")
    assert min(accuracy[name] for name in learned) == accuracy["vae, 16"] > 0.75
    assert accuracy["train against test"] == pytest.approx(0.48, abs=0.01)
    assert accuracy["memoriser"] == pytest.approx(0.61, abs=0.01)
    assert column["coverage"]["train against test"] == pytest.approx(0.98, abs=0.005)
    assert column["nn_ratio"]["memoriser"] == 0
    assert column["nll"]["pixels"] == math.inf
    assert column["nll"]["vae, 2"] == pytest.approx(99.7, abs=0.6)
    assert column["nll"]["vae, 16"] == pytest.approx(93.7, abs=0.6)
    assert max(v.gap_of_largest, v.gap_of_positive) < 0.0195
    assert v.positive.min() > 0


def your_own_prior_in_a_vae(v: SimpleNamespace) -> None:
    assert "log_prob should be the normalised density of the icdf" in v.refusal
    assert v.z.square().mean().item() == pytest.approx(5, abs=0.05)
    assert v.slope == pytest.approx(4, abs=0.05)

    for seed in (1, 2):
        logistic, humps = (v.gains[name, seed][0] for name in ("logistic", "two humps"))
        assert humps == pytest.approx(0.3, abs=0.08)
        assert 0.03 < logistic < humps - 0.05
        assert v.gains["two humps", seed][1] == pytest.approx(0.04, abs=0.02)
        assert v.vaes["two humps", seed].prior.gap.item() == pytest.approx(2.15, abs=0.1)
    assert max(v.gains10[name, 1][0] for name in ("logistic", "two humps")) < 0.05
    assert v.vaes10["two humps", 1].prior.gap.item() == pytest.approx(1.08, abs=0.12)
    assert max(v.p_values["normal"], v.p_values["logistic"]) < 0.01
    assert v.p_values["two humps"] > 0.01

    assert v.of_label.item() == pytest.approx(-21.1, abs=0.3)
    assert v.paths.prior.memory.item() == pytest.approx(0.9, abs=0.03)

    assert v.chains.diagnose() == []
    arm = v.chains["z"][:, :, 1, 0].flatten()
    assert ((arm - arm.mean()) / arm.std()).pow(3).mean().item() == pytest.approx(1, abs=0.4)
    assert v.shift.mean().item() == pytest.approx(0.18, abs=0.1)
    assert v.shift.max().item() < 1
    assert 0.8 < v.ratio.min().item() < v.ratio.max().item() < 1.25
    assert v.entropy == pytest.approx(1 + math.log(2), abs=0.02)


def the_elbo_taken_apart(v: SimpleNamespace) -> None:
    numbers = v.three_numbers(v.OneFactor(), v.x)
    assert numbers == pytest.approx((-2.349, -3.212, 0.860), abs=0.02)
    assert v.torch.tensor(v.dots).allclose(v.torch.tensor(v.curve), atol=0.1)
    assert 0 < v.apart.evidence[-1] - v.truth.evidence(v.x_train).mean().item() < 0.02
    learned = v.three_numbers(v.learner, v.x_train, particles=10)
    assert learned[2] < 0.01  # the guide is the posterior

    assert v.noise["the exact posterior"][1] < 1e-3 < 0.1 < v.noise["the exact posterior"][0]
    assert v.noise["a guide to be trained"] == pytest.approx([0.56, 0.40], abs=0.1)

    (elbo, _, upper, _), (better, _, more, _) = (v.last(h, *v.terms) for h in (v.plain, v.annealed))
    assert better - elbo == pytest.approx(0.8, abs=0.4)
    assert upper == pytest.approx(0.6, abs=0.2)
    assert more == pytest.approx(1.0, abs=0.2)

    assert v.finding.startswith("Posterior collapse: all 4 latent coordinates have a KL below 0.01 nats")
    assert v.table["none"] == pytest.approx([-23.53, 0.01, 0.0], abs=0.1)
    assert v.table["warm-up"] == pytest.approx([-23.40, 2.1, 4.0], abs=0.3)
    gains = {name: (score - v.likelihoods["none"]).mean().item() for name, score in v.likelihoods.items()}
    assert gains["warm-up"] == pytest.approx(0.24, abs=0.1)
    assert gains["warm-up"] > gains["cyclic"]
    assert min(gains["free bits"], gains["IWAE, 5 draws"]) > 0.05

    assert v.ratios["plain"] == pytest.approx([0.9, 0.15, 0.1], abs=0.15)
    assert v.ratios["dreg"] == pytest.approx([1.3, 1.3, 4.2], rel=0.3)
    assert v.leftovers.computed == 1
    assert v.before > 0.5
    assert v.after < 0.01
    assert v.same
    assert (v.stopped.ended, v.stopped.step) == ("interrupted", 40)
    assert v.complaint.endswith("is -inf (model site 'x': its log_prob is -inf at row 0)")
    assert list(v.lost.values()) == pytest.approx([0.318, 0.807, 0.5], abs=1e-3)


def four_ways_to_draw_from_a_density(v: SimpleNamespace) -> None:
    assert v.from_cdf.report().u_error == 0
    assert v.report.u_error < 1e-11
    assert v.report.log_normaliser.item() == pytest.approx(math.log(4), abs=1e-11)
    assert v.unseen.log_normaliser.exp().item() == pytest.approx(4, abs=1e-6)
    assert v.seen_at.log_normaliser.exp().item() == pytest.approx(5, abs=1e-6)
    assert 1e-5 < v.unseen.narrowest < 1e-3
    assert v.inverse_error.max().item() < 1e-11
    assert v.textbook_error.max().item() == pytest.approx(1.3e-4, rel=0.1)
    assert v.dry == pytest.approx(0.4, abs=0.006)
    assert v.near.abs().min() < 1e-5
    random, sobol = v.errors[256]
    assert random / sobol > 3

    assert v.seen.expected_acceptance == pytest.approx(2 / 3)
    assert v.seen.acceptance == pytest.approx(2 / 3, abs=0.004)
    assert "the target is 1.2 times its envelope" in v.violation
    assert float(v.violation.split()[-1]) == pytest.approx(math.log(6), abs=1e-4)
    assert v.refusal.startswith("the density should be T-concave")
    automatic = v.automatic.report()
    assert automatic.acceptance == pytest.approx(0.99, abs=0.005)
    assert automatic.squeezed == pytest.approx(0.98, abs=0.006)
    assert v.ratio_seen.acceptance == pytest.approx(0.545, abs=0.008)
    assert v.ratio_seen.expected_acceptance == pytest.approx(v.by_hand, abs=1e-4)

    for d, (rejection, chain) in v.worth.items():
        assert rejection == pytest.approx((2 / 3) ** d)
        assert (chain > rejection) == (d == 20)
    assert v.slope == pytest.approx(v.half_square, abs=0.01)
    assert v.learned == pytest.approx(0.9, abs=0.3)
    assert v.kept_of_normals == pytest.approx(0.7602, abs=0.006)
    assert "1.01005 times its envelope" in v.too_small


def a_markov_chain_you_can_trust(v: SimpleNamespace) -> None:
    right, gradient, wrong = v.gaps.values()
    assert max(right, gradient) < v.bound == pytest.approx(0.012, abs=1e-4)
    assert wrong > 2 * v.bound
    assert [acceptance > 0.9 for _, acceptance in v.walks.values()] == [True, False, False]
    assert v.walks[20.0][1] < 0.02
    assert [f"{acceptance:.1f}" for _, acceptance in v.walks.values()] == ["0.9", "0.3", "0.0"]

    worth = [found.summary()[["ess_bulk", "ess_tail"]].min(axis=None) for found in (v.walked, v.followed)]
    assert 200 < worth[0] < 1000  # 360 to 960 over a dozen seeds
    assert 7000 < worth[1] < 15_000
    assert (v.walked["x"][..., 0].numel(), v.followed["x"][..., 0].numel()) == (64_000, 19_200)
    assert 0 < v.followed.statistics["divergent"].sum().item() < 100
    assert v.followed.autocorrelation("x")[10].abs().max() < 0.05
    assert "diverged" in v.fits[v.centred].diagnose()[0]
    assert "E-BFMI" in v.fits[v.centred].diagnose()[1]
    assert sum(v.fits[v.non_centred].statistics["divergent"].flatten()) <= 3

    shares = [(found["x"][..., 0] > 0).float().mean().item() for found in (v.stuck, v.tempered)]
    assert shares == [pytest.approx(0.5, abs=0.2), pytest.approx(0.7, abs=0.03)]
    assert v.stuck.summary().r_hat.max() > 1.3
    right = v.stuck["x"][..., 0] > 0
    assert right.eq(right[:, :1]).all()  # none crosses

    assert v.codes.diagnose() == []
    assert "for 6 of 6 rows" in v.held.failures()[0]
    assert v.held.rows.k_hat.max() < 0.7
    assert v.held.numbers["shift"].abs().max() == pytest.approx(1.7, abs=0.3)
    ratios = v.held.numbers["sd_ratio"]
    assert (ratios.min(), ratios.max()) == (pytest.approx(0.7, abs=0.1), pytest.approx(1.2, abs=0.1))
    assert v.gap_repaired < v.bound
    assert v.share_alone in (0, 1)
    assert [finding for finding in v.alone.diagnose() if "one chain" not in finding] == []


def matching_moments(v: SimpleNamespace) -> None:
    linear, quadratic, gaussian = v.seen
    assert abs(linear.value) < 2 * linear.stderr
    assert abs(quadratic.value) < 2 * quadratic.stderr
    assert gaussian.value > 3 * gaussian.stderr
    scores = [value / stderr for value, stderr in v.profile]
    assert max(scores[:3]) > 5 > 2 > abs(scores[7])  # the eighth width is the median

    assert v.false_alarms == {"one": 15, "best of ten": 42, "aggregated": 6}
    assert v.found.p_value < 0.01
    assert v.found.kernel_p_values[0] < 0.01 < 0.05 < v.found.kernel_p_values[-1]
    assert v.alarms["permutation"] == pytest.approx(31, abs=5)
    assert v.alarms["block"] <= 6

    assert v.before.value > 0.4
    assert v.after.value == pytest.approx(0.0013, abs=5e-4)
    assert abs(v.floor.value) < 3 * v.floor.stderr
    assert v.game.turns == ("critic", "critic", "model")
    assert min(v.energy) < 0.3 * v.energy[0]
    assert set(v.recipes.entries()) >= {"gmmn", "gmmn-autoencoder", "mmd-gan", "vae"}
    assert v.seen_of_100["aggregated"] < v.seen_of_100["one"] < 85


def from_a_belief_to_a_posterior(v: SimpleNamespace) -> None:
    for name, level, value in (
        ("average", 0.05, 60),
        ("slope", 0.5, 6),
        ("school", 0.95, 15),
        ("spread", 0.95, 30),
    ):
        assert v.beliefs[name].icdf(v.torch.tensor(level, dtype=v.torch.float64)).item() == pytest.approx(
            value, abs=1e-9
        )
    assert v.above_zero == pytest.approx(0.89, abs=0.005)
    assert 0.0005 < v.impossible < 0.002
    assert v.middle == pytest.approx([61, 105], abs=1.5)

    assert v.chains.diagnose() == []
    assert v.table.r_hat.max() < 1.01
    assert v.table[["ess_bulk", "ess_tail"]].min(axis=None) > 2000
    mean, sd = v.table["mean"], v.table["sd"]
    assert (mean.slope, sd.slope) == pytest.approx((8.4, 0.9), abs=0.1)
    assert v.beliefs["slope"].stddev.item() == pytest.approx(5, abs=0.2)
    assert (mean.school, sd.school) == pytest.approx((5.6, 2.1), abs=0.2)

    assert 0.3 < v.shares["standard deviation"] < 0.7
    assert 0.05 < v.shares["lowest score"] < 0.95
    assert (v.shares["skewness"], v.score.min().item()) == (0, 20)
    assert v.skewness(v.score).item() == pytest.approx(-0.46, abs=0.005)

    assert v.worst < 0.7
    assert (v.gain, v.error) == pytest.approx((3.3, 1.9), abs=0.4)
    assert max(v.to_prior.values()) < 0.05 < min(v.to_likelihood.values())
    assert v.to_sceptic["slope"] > 0.1
    assert 1 < v.sceptical["slope"].mean().item() < mean.slope - 1
    assert v.positive == pytest.approx(0.68, abs=0.03)
    assert abs(v.moved) < 0.3


def autoencoders_from_compression_to_generation(v: SimpleNamespace) -> None:
    for size in (2, 8, 32):  # no linear autoencoder has less than the components, and all come to them
        assert 1 - 1e-4 < v.error(v.linear[size], v.x, v.x) / v.by_components[size] < 1.02
    held_out = [(v.error(nets[size], v.test, v.test)) for size in (2, 8, 32) for nets in (v.linear, v.curved)]
    assert held_out == pytest.approx([0.053, 0.045, 0.024, 0.017, 0.0027, 0.0033], rel=0.12)

    error, nonsense, left, used, slope = (
        dict(zip(v.found, f, strict=True)) for f in zip(*v.found.values(), strict=True)
    )
    assert nonsense["8"] / error["8"] == pytest.approx(4, abs=0.6)
    assert max(nonsense["64, linear"], nonsense["128, linear"]) < 0.001
    assert (left["128"], left["128, denoising"]) == (
        pytest.approx(0.73, abs=0.08),
        pytest.approx(0.27, abs=0.02),
    )
    assert (left["128, contractive"], left["128, L1"]) == (
        pytest.approx(0.40, abs=0.04),
        pytest.approx(0.49, abs=0.06),
    )
    assert slope["128"] / slope["128, denoising"] == pytest.approx(2, abs=0.6)
    assert slope["128"] / slope["128, contractive"] > 30
    assert slope["128, L1"] < 0.5
    assert used["128"] == pytest.approx(83, abs=4)
    assert used["128, denoising"] == pytest.approx(83, abs=6)
    assert 20 < used["128, L1"] < 45  # 28 to 35 over two seeds
    assert max(error["128"], error["128, linear"]) < 0.002 < 0.004 < min(list(error.values())[4:])

    gains = {name: ours - best for name, (_, best, ours) in v.restoration.items()}
    assert gains["noise"] == pytest.approx(0.4, abs=0.25)
    assert gains["half masked"] == pytest.approx(0.7, abs=0.35)
    assert gains["a quarter of the pixels"] == pytest.approx(1.4, abs=0.4)
    assert all(3 < ours - seen < 6.5 for seen, _, ours in v.restoration.values())

    spent = {name: cost for name, (cost, _, _) in v.convolutions.items()}
    assert spent["fully connected"].parameters / spent["standard"].parameters > 1000
    assert spent["fully connected"].multiplications / spent["standard"].multiplications == pytest.approx(
        6, abs=0.5
    )
    assert spent["standard"].multiplications / spent["separable"].multiplications == pytest.approx(3, abs=0.4)
    assert [sees for _, sees, _ in v.convolutions.values()] == [28, 15, 19, 15]
    quality = [decibels for _, _, decibels in v.convolutions.values()]
    assert max(quality) - min(quality) < 0.8
    assert min(quality) == quality[-1]

    accuracy = v.features["linear", 10]
    assert accuracy["autoencoder, 2"] < accuracy["pixels"] - 0.05
    assert v.features["linear", 100].drop(["2 components", "autoencoder, 2"]).min() > 0.8
    assert max(accuracy) - accuracy["pixels"] < 0.08
    assert abs(v.clusters["autoencoder, 32"] - v.clusters["pixels"]) < 0.1

    assert v.holes["normal law"] == pytest.approx(0.33, abs=0.07)
    assert v.holes["mixture"] == pytest.approx(0.06, abs=0.03)
    assert v.holes["mixture"] < v.holes["flow"] < v.holes["normal law"] - 0.1
    assert v.told["mixture"] - v.told["through the autoencoder"] < 0.1
    assert v.told["mixture"] + 0.05 < v.told["normal law"] < v.told["vae"]

    moves = {place: moved for place, (moved, _) in v.moves.items()}
    lengths = {place: length for place, (_, length) in v.moves.items()}
    assert moves["autoencoder", "halfway, straight"] > 1.35 * moves["autoencoder", "digits"]
    assert moves["autoencoder", "halfway, spherical"] < moves["autoencoder", "halfway, straight"]
    assert moves["vae", "halfway, straight"] < 1.15 * moves["vae", "digits"]
    assert moves["vae", "halfway, spherical"] > moves["vae", "halfway, straight"]
    for name in ("autoencoder", "vae"):
        assert lengths[name, "halfway, straight"] < 0.85 * lengths[name, "digits"]
        assert lengths[name, "halfway, spherical"] == pytest.approx(lengths[name, "digits"], rel=0.05)

    assert -v.uniform == pytest.approx(8.32, abs=0.01)
    assert -v.learned == pytest.approx(6.0, abs=0.7)  # 5.7 to 6.2
    assert v.bits["uniform prior"] - v.bits["learned prior"] == pytest.approx(0.055, abs=0.02)
    assert v.told["vq, learned prior"] < v.told["vq, uniform prior"]
    assert list(v.by_eigenvalues.values()) == pytest.approx(list(v.by_components.values()), rel=1e-3)


def one_vae_many_priors(v: SimpleNamespace) -> None:
    assert v.history.diagnose()[0].startswith("Posterior collapse: all 8 latent coordinates")
    for beta in (1.0, 4.0):
        assert v.kl[beta].tolist() == pytest.approx(v.known[beta].tolist(), abs=0.03)
    assert [int((v.kl[beta] > 0.01).sum()) for beta in (1.0, 4.0)] == [4, 1]
    assert v.linear_elbo == pytest.approx(v.evidence, abs=0.01)
    assert -0.01 < v.evidence - v.best < 1e-6

    kl, units, gain = ({name: row[i] for name, row in v.table.items()} for i in range(3))
    assert gain["annealing"] == pytest.approx(0.29, abs=0.08)
    assert max(gain, key=gain.__getitem__) == "annealing"
    assert min(gain["cyclical annealing"], gain["free bits, 0.2"]) > gain["the bound as it is"] + 0.03
    assert kl["batch norm on means"] == pytest.approx(1.1, abs=0.15)
    assert gain["batch norm on means"] < gain["free bits, 0.2"]
    collapsed = ["weight 4, collapsed", "Vamp prior", "flow prior"]
    assert [units[name] for name in collapsed] == [0, 0, 0]
    assert max(kl[name] for name in collapsed) < 0.05
    assert max(abs(gain[name]) for name in collapsed) < 0.03
    assert kl["sees none"] > 2.5
    assert gain["sees none"] == pytest.approx(-0.4, abs=0.12)

    for name in ("Vamp", "exemplar"):
        assert v.gains[name][0] == pytest.approx(0.3, abs=0.1)
        assert v.gains[name][0] > 4 * v.gains[name][1]
    acceptance = v.seen.acceptance
    assert v.seen.expected_acceptance == pytest.approx(v.on_grid, abs=0.006)
    assert acceptance == pytest.approx(v.on_grid, abs=0.006)
    assert v.scores["normal"].mean().item() == pytest.approx(v.truth.mean().item(), abs=0.03)

    assert v.gap["diagonal"] == pytest.approx(0.52, abs=0.05)
    assert v.gap["full"] == pytest.approx(0.08, abs=0.03)
    assert -0.005 < v.gap["flow"] < 0.04
    assert v.gaps.approximation.value == pytest.approx(0.52, abs=0.06)
    assert abs(v.gaps.amortisation.value) < 0.03
    assert v.gaps.refinement.value == pytest.approx(0.27, abs=0.08)
    assert v.digits_truth - v.elbo == pytest.approx(0.14, abs=0.06)
    assert v.annealing.value == pytest.approx(v.digits_truth, abs=0.02)
    assert -0.01 < v.bracket.gap.value < 0.02
    assert v.last_beta == pytest.approx(5.85, abs=0.1)  # KL of 0.19 nats at 4: 4 exp(0.38)


CHECKS = {
    "01_from_uniforms_to_digits": from_uniforms_to_digits,
    "02_your_own_prior_in_a_vae": your_own_prior_in_a_vae,
    "03_the_elbo_taken_apart": the_elbo_taken_apart,
    "04_four_ways_to_draw_from_a_density": four_ways_to_draw_from_a_density,
    "05_a_markov_chain_you_can_trust": a_markov_chain_you_can_trust,
    "06_matching_moments": matching_moments,
    "07_from_a_belief_to_a_posterior": from_a_belief_to_a_posterior,
    "08_autoencoders_from_compression_to_generation": autoencoders_from_compression_to_generation,
    "09_one_vae_many_priors": one_vae_many_priors,
    "10_direct_or_indirect": direct_or_indirect,
    "11_how_good_is_a_generative_model": how_good_is_a_generative_model,
    "12_models_that_remember": models_that_remember,
    "13_sentences_as_points": sentences_as_points,
}
