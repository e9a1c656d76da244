"""Sequences that are not what they should be: one sentence each; padding that is whatever it likes."""

import pytest
import torch

from probgen import SVI, fit, nets, priors
from probgen.core import seeded
from probgen.models import (
    VRNN,
    AutoregressiveSequence,
    DeepMarkov,
    HiddenMarkov,
    HierarchicalSequenceVAE,
    LanguageModel,
    NGram,
    SequenceVAE,
)
from probgen.objectives import MaximumLikelihood

TOKENS = torch.tensor([[3, 4, 1, 0], [2, 1, 0, 0]])
K = 6


def sentences(net=nets.TokenGRU, **more):
    torch.manual_seed(0)
    return priors.Sentences(net(K, 5, width=8, **more))


def readers():
    """What takes tokens (n, T), by name."""
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.TokenReader(K, 2, width=8))
    gru, transformer = (
        SequenceVAE(encoder, sentences(net, context=2)) for net in (nets.TokenGRU, nets.CausalTransformer)
    )
    language = LanguageModel(sentences())
    windows = LanguageModel(priors.Autoregressive(nets.CausalTransformer(K, 4, width=8)))
    hmm = HiddenMarkov(3, K, emission="categorical")
    return {
        "sequence VAE": lambda x: SVI(gru)(x)[0],
        "sequence VAE, transformer": lambda x: SVI(transformer)(x)[0],
        "its codes": gru.encode,
        "language model": language.log_prob,
        "its loss": lambda x: MaximumLikelihood(language)(x)[0],
        "a long text": lambda x: language.stream_log_prob(x[0]),
        "language model of windows": windows.log_prob,
        "n-gram": NGram(K, order=2, steps=4).learn(TOKENS).log_prob,
        "n-gram's counts": NGram(K, order=2, steps=4).learn,
        "hidden Markov model": hmm.log_prob,
        "its start": hmm.start_at,
        "its steps": lambda x: hmm.fit_em(x, iterations=1),
        "TokenGRU": nets.TokenGRU(K, 5),
        "CausalTransformer": nets.CausalTransformer(K, 5, width=8),
        "TokenReader": nets.TokenReader(K, 2),
    }


@pytest.mark.parametrize("name", readers())
def test_a_token_that_is_not_known_is_named(name):
    read = readers()[name]
    read(TOKENS)
    for token in (K, -1):
        x = TOKENS.clone()
        x[0, 1] = token
        with pytest.raises(ValueError, match=f"tokens should be from 0 to 5 but go from .*{token}"):
            read(x)
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(TypeError, match=f"tokens should be whole numbers but are {dtype}"):
            read(TOKENS.to(dtype))


@pytest.mark.parametrize(
    "name", sorted(set(readers()) - {"its steps", "its start", "n-gram's counts", "its loss"})
)
def test_tokens_of_few_bits_are_tokens(name):
    found = []
    for dtype in (torch.int64, torch.uint8, torch.int16):
        with seeded(0):
            result = readers()[name](TOKENS.to(dtype))
        found.append(result if isinstance(result, torch.Tensor) else result.mean)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("name", ["sequence VAE", "sequence VAE, transformer", "its codes", "TokenReader"])
def test_a_row_that_is_all_padding_has_no_code(name):
    x = TOKENS.clone()
    x[1] = 0
    with pytest.raises(ValueError, match="at least one step before their padding but row 1 has none"):
        readers()[name](x)
    with pytest.raises(ValueError, match="sequences should have at least one step but have shape"):
        readers()[name](TOKENS[:, :0])


def test_a_row_that_is_all_padding_is_no_sentence():
    language = LanguageModel(sentences())
    found = language.log_prob(torch.tensor([[3, 1], [0, 0]]))
    assert found[0].isfinite()
    assert found[1] == -torch.inf


def of_steps():
    """Models of padded sequences with lengths, by name: a number a sequence or of all."""
    torch.manual_seed(0)
    history = nets.History(nets.GRU(5, 8))
    vrnn = VRNN(
        history,
        prior=nets.NormalHead(nets.MLP(8, 2)),
        encoder=nets.NormalHead(nets.Joined(nets.MLP(5 + 8, 2))),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(2 + 8, 5))),
    )
    music = HierarchicalSequenceVAE(
        nets.NormalHead(nets.SequenceReader(5, 4, width=8)),
        conductor=nets.GRU(4, 8),
        history=nets.History(nets.GRU(5 + 8, 8)),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(8 + 8, 5))),
        bar=2,
    )
    markov = DeepMarkov(
        nets.GatedTransition(2, hidden=8),
        nets.BernoulliHead(nets.MLP(2, 5, hidden=8)),
        reader=nets.GRU(5, 8, backward=True),
        guide_step=nets.NormalHead(nets.Joined(nets.MLP(2 + 8, 2))),
        latent=2,
    )
    hidden = HiddenMarkov(3, 5)
    recurrent = AutoregressiveSequence(history, nets.BernoulliHead(nets.MLP(8, 5)))

    def steps_of_em(x, *lengths):
        torch.manual_seed(0)
        own = HiddenMarkov(3, 5)
        own.start_at(x, *lengths, seed=0)
        return torch.tensor(own.fit_em(x, *lengths, iterations=2))

    return {
        "VRNN": lambda *x: SVI(vrnn)(*x)[0],
        "HierarchicalSequenceVAE": lambda *x: SVI(music)(*x)[0],
        "DeepMarkov": lambda *x: SVI(markov)(*x)[0],
        "AutoregressiveSequence": recurrent.log_prob,
        "HiddenMarkov": hidden.log_prob,
        "HiddenMarkov, EM": steps_of_em,
    }


X = torch.bernoulli(torch.full((2, 4, 5), 0.5), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([4, 2])


@pytest.mark.parametrize("name", of_steps())
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 7.0])
def test_what_lies_in_padding_is_no_data(name, value):
    found = []
    for padding in (0.0, value):
        x = X.clone()
        x[1, 2:] = padding
        with seeded(0):
            found.append(of_steps()[name](x, LENGTHS).detach())
    assert found[0].isfinite().all()
    assert torch.equal(*found)


@pytest.mark.parametrize("name", of_steps())
def test_a_step_that_is_not_finite_is_named(name):
    x = X.clone()
    x[0, 3] = torch.nan
    for lengths in ([LENGTHS], []):
        with pytest.raises(
            ValueError, match="should be finite but step 3 of sequence 0 holds NaN or infinity"
        ):
            of_steps()[name](x, *lengths)


def test_tokens_in_padding_are_no_data_either():
    hmm = HiddenMarkov(3, K, emission="categorical")
    lengths = torch.tensor([4, 2])
    other = torch.tensor([[3, 4, 1, 0], [2, 1, -1, 99]])
    assert torch.equal(hmm.log_prob(other, lengths), hmm.log_prob(TOKENS, lengths))
    with pytest.raises(TypeError, match=r"tokens should be whole numbers but are torch.bool"):
        hmm.log_prob(TOKENS > 0, lengths)


def test_fit_says_how_sequences_are_padded():
    x = X.clone()
    x[1, 2:] = torch.nan
    model = AutoregressiveSequence(nets.History(nets.GRU(5, 8)), nets.BernoulliHead(nets.MLP(8, 5)))
    with pytest.raises(ValueError, match=r"row 1 holds NaN or infinity: .* pad sequences with 0"):
        fit(MaximumLikelihood(model), (x, LENGTHS), steps=1, progress=False)
