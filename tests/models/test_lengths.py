"""Lengths of sequences: what is wrong with them is said, by all models that take them."""

import pytest
import torch

from probgen import SVI, Pair
from probgen.models import GJRGARCH, AutoregressiveSequence, HiddenMarkov, HierarchicalSequenceVAE
from probgen.nets import GRU, MLP, BernoulliHead, History, Joined, NormalHead, SequenceReader, inside
from tests.models.test_sequences import deep_markov, srnn, vrnn, vrnn_of_kinds


def music_vae():
    return HierarchicalSequenceVAE(
        NormalHead(SequenceReader(3, 2)),
        conductor=GRU(2, 4),
        history=History(GRU(3 + 4, 6)),
        decoder=BernoulliHead(Joined(MLP(6 + 4, 3))),
        bar=2,
    )


MODELS = {
    "vrnn": vrnn,
    "vrnn of kinds": vrnn_of_kinds,
    "dmm": deep_markov,
    "srnn": srnn,
    "recurrent": lambda: AutoregressiveSequence(History(GRU(3, 5)), BernoulliHead(MLP(5, 3))),
    "hmm": lambda: HiddenMarkov(4, 3),
    "music-vae": music_vae,
    "garch": GJRGARCH,
}
READ_X = ("vrnn", "vrnn of kinds", "srnn", "recurrent", "music-vae", "garch")
"""Those to which a step that is missing would be a number that was read."""


@pytest.fixture(params=MODELS)
def name(request):
    torch.manual_seed(0)
    return request.param


def score(model, name, *context):
    x = torch.zeros(3, 4) if name == "garch" else torch.zeros(3, 4, 3)
    return SVI(model)(x, *context) if isinstance(model, Pair) else model.log_prob(x, *context)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (torch.tensor([4.0, 1.0, 3.0]), TypeError, "lengths of sequences should be whole numbers but are"),
        (torch.tensor([True, True, True]), TypeError, "should be whole numbers but are torch.bool"),
        (torch.tensor([4, 1, 5]), ValueError, "0 to the 4 steps that there are but go from 1 to 5"),
        (torch.tensor([4, -1, 3]), ValueError, "0 to the 4 steps that there are but go from -1 to 4"),
        (torch.tensor([4]), ValueError, r"lengths of 3 sequences should have shape \(3,\) but have \(1,\)"),
        (torch.tensor([[4], [1], [3]]), ValueError, r"should have shape \(3,\) but have \(3, 1\)"),
    ],
)
def test_wrong_lengths_are_refused_where_sequences_are_scored(name, lengths, error, message):
    with pytest.raises(error, match=message):
        score(MODELS[name](), name, lengths)


@pytest.mark.parametrize("lengths", [[4.0, 1.0], [4, 0], [4, -2]])
def test_wrong_lengths_are_refused_where_sequences_are_drawn(name, lengths):
    with pytest.raises((TypeError, ValueError), match="lengths of sequences"):
        MODELS[name]().sample(2, torch.tensor(lengths), seed=0)


def test_sequences_of_no_step_are_refused(name):
    x = torch.zeros(3, 0) if name == "garch" else torch.zeros(3, 0, 3)
    model = MODELS[name]()
    with pytest.raises(ValueError, match="at least one step"):
        (SVI(model) if isinstance(model, Pair) else model.log_prob)(x, torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("kind", READ_X)
def test_a_model_that_reads_x_refuses_steps_that_are_missing(kind):
    torch.manual_seed(0)
    lengths = torch.tensor([4, 1, 3])
    with pytest.raises(ValueError, match=r"reads x itself"):
        score(MODELS[kind](), kind, lengths, inside(lengths, 4))


def test_values_that_a_hidden_markov_model_cannot_learn_from_are_refused():
    lengths = torch.tensor([4, 1, 3])
    for value, says in ((0.5, "a Bernoulli needs values 0 or 1"), (torch.nan, "should be finite")):
        with pytest.raises(ValueError, match=says):
            HiddenMarkov(4, 3).fit_em(torch.full((3, 4, 3), value), lengths, iterations=1)
    tokens = HiddenMarkov(4, 3, emission="categorical")
    for token in (-1, 3):
        with pytest.raises(ValueError, match=f"tokens should be from 0 to 2 but go from .*{token}"):
            tokens.log_prob(torch.tensor([[0, token, 1]]).sort().values)
    with pytest.raises(TypeError, match=r"tokens should be whole numbers but are torch.float32"):
        tokens.log_prob(torch.zeros(2, 3))
