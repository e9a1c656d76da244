"""The particle filter: unbiased evidence of models whose evidence is known."""

import math

import pyro.distributions as dist
import pytest
import torch

from probgen.core import Pair
from probgen.data import Ragged
from probgen.evaluation import filtered_log_likelihood, filtered_log_likelihoods, log_likelihoods
from probgen.models import VAE, HiddenMarkov
from probgen.nets import MLP, NormalHead
from tests.models.test_sequences import LENGTHS, data, kalman, linear, vrnn

REPEATS = 400


def repeated(x, lengths, pair, *, particles, **options):
    """Estimates of p(x) of each sequence over p(x) itself may be had from copies of them."""
    many = [x.repeat_interleave(REPEATS, 0), lengths.repeat_interleave(REPEATS, 0)]
    found = filtered_log_likelihoods(pair, *many, particles=particles, seed=0, **options)
    return found.reshape(len(x), REPEATS)


def unbiased(found, exact):
    """Hold the mean of estimates of p(x) against p(x): 5.5 standard errors, one false alarm in 10⁷."""
    ratio = (found - exact[:, None]).exp()
    error = ratio.std(1) / REPEATS**0.5
    assert ((ratio.mean(1) - 1).abs() < 5.5 * error).all()
    assert (error < 0.03).all()  # power: evidence that is off by a fifth of a nat is found


@pytest.mark.parametrize("below", [0.0, 0.5, 1.0])
def test_the_evidence_of_a_linear_state_space_model_is_that_of_kalman(below):
    x = torch.randn(3, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = repeated(x, LENGTHS, linear(1.3), particles=40, resample_below=below)
    unbiased(found, kalman(x, LENGTHS))


def test_an_exact_guide_has_the_evidence_itself():
    x = torch.randn(3, 4, 1, dtype=torch.float64)
    found = filtered_log_likelihoods(linear(), x, LENGTHS, particles=3, resample_below=0.0, seed=0)
    torch.testing.assert_close(found, kalman(x, LENGTHS))


class OfStates(Pair):
    """A hidden Markov model whose states are particles, proposed by a law that is not the prior."""

    def __init__(self):
        super().__init__()
        self.hmm = HiddenMarkov(3, 2)

    def model(self, x=None, *context, n=1):
        raise NotImplementedError

    guide = model

    def steps_of(self, x, *context):
        return self.hmm.steps_of(x, *context)

    def filtering(self, x, *context):
        def step(t, z):
            shape = (len(x),) if z is None else z.shape
            logits = self.hmm.start.expand(*shape, -1) if z is None else self.hmm.transition[z]
            emitted = lambda z: dist.Bernoulli(logits=self.hmm.emission[z]).to_event(1).log_prob(x[:, t])  # noqa: E731
            return dist.Categorical(logits=logits), dist.Categorical(logits=logits / 2), emitted

        return step


def test_the_evidence_of_a_hidden_markov_model_is_that_of_the_forward_algorithm():
    torch.manual_seed(0)
    pair = OfStates().double()
    x = torch.randint(2, (3, 4, 2)).double()
    unbiased(repeated(x, LENGTHS, pair, particles=30), pair.hmm.log_prob(x, LENGTHS).detach())


def test_resampling_helps_where_sequences_are_long():
    lengths = torch.full((40,), 60)
    x = linear().sample(40, lengths, seed=0)
    filtered, weighted = (
        filtered_log_likelihood(linear(1.5), x, lengths, particles=50, resample_below=below, seed=0)
        for below in (0.5, 0.0)
    )
    exact = float(kalman(x, lengths).mean())
    assert weighted.value < filtered.value - 2 < exact - 1
    assert filtered.value > exact - 4


def test_without_resampling_it_is_importance_sampling():
    torch.manual_seed(0)
    pair = vrnn().double()
    filtered, weighted = (
        law(pair, data(), LENGTHS, particles=50_000, seed=0, **own)
        for law, own in ((filtered_log_likelihoods, {"resample_below": 0.0}), (log_likelihoods, {}))
    )
    torch.testing.assert_close(filtered, weighted, atol=0.02, rtol=0)  # both within 0.003 of log p(x)
    stepwise = filtered_log_likelihoods(pair, data(), LENGTHS, particles=5000, resample_below=1.0, seed=0)
    torch.testing.assert_close(stepwise, weighted, atol=0.03, rtol=0)


def test_ragged_sequences_tell_their_lengths_and_the_seed_is_all():
    sequences = [row[:length] for row, length in zip(data(), LENGTHS.tolist(), strict=True)]
    torch.manual_seed(0)
    pair = vrnn().double()
    found = filtered_log_likelihood(pair, Ragged(sequences), particles=20, seed=3)
    again = filtered_log_likelihood(pair, data(), LENGTHS, particles=20, seed=3)
    assert found == again
    assert math.isfinite(found.stderr)


def test_what_is_wrong_is_said():
    pair = vrnn().double()
    with pytest.raises(ValueError, match="share of the particles, 0 to 1, but is 2"):
        filtered_log_likelihood(pair, data(), LENGTHS, resample_below=2)
    with pytest.raises(ValueError, match="particles should be at least 1 but got 0"):
        filtered_log_likelihood(pair, data(), LENGTHS, particles=0)
    vae = VAE(NormalHead(MLP(3, 2)), NormalHead(MLP(2, 3)))
    with pytest.raises(TypeError, match="'filtering', which VAE has not"):
        filtered_log_likelihood(vae, torch.zeros(2, 3))
