"""Lines of text: mixtures of networks and counts against sums worked out, draws, files, the smallest path."""

import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

from probgen import applications, data, nets, priors
from probgen.applications.parts.text import models as text_models
from probgen.applications.parts.text.models import blocks, drawn, log_probs, probed
from probgen.data import END, PAD
from probgen.models import LanguageModel, NGram, SequenceVAE

SIZE, STEPS = 5, 4
X = torch.tensor([[2, 3, END, PAD], [4, 4, 2, END], [END, PAD, PAD, PAD]])


def counts():
    return NGram(SIZE, order=2, steps=STEPS).learn(X)


def gru(latent=0):
    torch.manual_seed(0)
    return priors.Sentences(nets.TokenGRU(SIZE, STEPS, context=latent, width=8, embedding=4))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_network_beside_counts_is_the_mixture_of_each_token(share):
    model, by_counts = LanguageModel(gru()).eval(), counts()
    found = log_probs(model, X, counted=by_counts.token_log_probs(X), share=share)
    with torch.no_grad():
        net = model.law().token_log_probs(X).double().exp()
    mixed = share * net + (1 - share) * by_counts.token_log_probs(X).exp()
    inside = X != PAD
    exact = torch.where(inside, mixed, 1.0).log().sum(1)
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)


def test_a_vae_beside_counts_is_that_of_quadrature():
    torch.manual_seed(0)
    reader = nets.TokenReader(SIZE, 1, width=4, embedding=4)
    model, counted = SequenceVAE(nets.NormalHead(reader), gru(1)).eval(), counts().token_log_probs(X)
    found = torch.stack(
        [log_probs(model, X, counted=counted, share=0.6, particles=20_000, seed=s) for s in range(4)]
    )
    z = torch.linspace(-8, 8, 801)[:, None]
    with torch.no_grad():
        net = model.decoder(z[:, None]).token_log_probs(X.expand(801, *X.shape)).double().exp()
    tokens = torch.where(X != PAD, 0.6 * net + 0.4 * counted.exp(), 1.0).log().sum(-1)
    exact = torch.logsumexp(dist.Normal(0.0, 1.0).log_prob(z).double() + tokens, 0) + math.log(16 / 800)
    assert (found.double().mean(0) - exact).abs().max() < 0.02


def test_draws_beside_counts_have_the_mixed_law_of_the_first_token():
    law, by_counts = LanguageModel(gru()).eval().law(), counts()
    x = drawn(law, by_counts, 0.25, 20_000, seed=0)
    with torch.no_grad():
        net = law.next_logits(law.begin((1,))).softmax(-1)[0].double().numpy()
    p = 0.25 * net + 0.75 * by_counts.probabilities(np.full((1, 1), SIZE))[0]
    shares = np.bincount(x[:, 0].numpy(), minlength=SIZE) / len(x)
    assert np.abs(shares - p).max() < 5 * math.sqrt(0.25 / len(x)), "five standard deviations"
    assert torch.equal(x, drawn(law, by_counts, 0.25, 20_000, seed=0))
    after_two = x[(x[:, 0] == 2), 1]
    assert len(after_two) > 100
    with torch.no_grad():
        state = law.advance(law.begin((1,)), torch.tensor([2]))
        net = law.next_logits(state).softmax(-1)[0].double().numpy()
    p = 0.25 * net + 0.75 * by_counts.probabilities(np.array([[2]]))[0]
    shares = np.bincount(after_two.numpy(), minlength=SIZE) / len(after_two)
    assert np.abs(shares - p).max() < 5 * math.sqrt(0.25 / len(after_two)), "the token before is known"


def test_stretches_are_apart_and_whole():
    x = torch.arange(103)[:, None]
    tests = []
    for repeat in range(3):
        split = blocks(x, None, repeat, parts=10)
        together = torch.cat([split.train, split.chosen_on, split.test])
        assert sorted(together[:, 0].tolist()) == list(range(103))
        assert (split.test.diff(dim=0) == 1).all(), "a stretch is in one piece"
        tests.append(set(split.test[:, 0].tolist()))
    assert not tests[0] & tests[1]


def test_bits_and_probes_are_those_of_known_cases():
    assert text_models.bits(torch.tensor([-math.log(16)]), X[:1]) == pytest.approx(4 / 3)
    labels = np.arange(300) % 3
    assert probed(np.eye(3)[labels], labels) == 1
    assert text_models.majority(np.repeat([1, 0, 1], 100)) == pytest.approx(2 / 3, abs=0.05)


def made(path, *, lines=300):
    source = np.random.default_rng(0)
    words = ["the", "king", "and", "his", "sailor", "went", "north", "by", "ship"]
    path.write_text("\n".join(" ".join(source.choice(words, 5)) for _ in range(lines)), encoding="utf-8")
    return path


def test_a_users_text_is_learned_drawn_and_walked(tmp_path):
    own = made(tmp_path / "own.txt", lines=200)
    folder = applications.apply("text", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert set(found.index) == {
        "sentence VAE", "sentence VAE beside counts", "Kneser-Ney", "GRU", "GRU beside counts",
        "held-out lines",
    }  # fmt: skip
    assert found.loc["Kneser-Ney", "bits"] < found.loc["GRU", "bits"], "two steps are no training"
    assert found.loc["GRU beside counts", "bits"] < found.loc["Kneser-Ney", "bits"] + 0.1
    assert found.loc["held-out lines", "words"] == 1
    assert found.loc["sentence VAE", "bits"] <= found.loc["sentence VAE", "elbo"] + 0.05
    ways = pd.read_csv(folder / "ways.csv")
    assert ways["at"][:7].tolist() == ["from", "0 %", "25 %", "50 %", "75 %", "100 %", "to"]
    assert (folder / "Kneser-Ney.txt").read_text().strip()


def test_verse_has_speakers(tmp_path):
    try:
        data.verse_lines()
    except ConnectionError as error:
        pytest.skip(str(error))
    folder = applications.apply("text", out=tmp_path / "here", size="tiny", progress=False)
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert found["speakers"].dropna().between(0, 1).all()
    assert set(found["speakers"].dropna().index) >= {"sentence VAE", "TF-IDF of words"}
    assert (folder / "speakers.png").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.csv", b"a,b\n1,2\n", "a text should be a .txt but is"),
        ("own.txt", b"", "should hold a text of at least 10 characters"),
        ("own.txt", b"a line\n" * 20, "should have 200 lines that are not empty but has 20"),
        ("own.txt", b"a\0b\n" * 300, "should be a text but holds bytes of 0"),
        (
            "own.txt",
            "".join(f"{chr(0x4E00 + i)} a\n" for i in range(1500)).encode(),
            "1,000 different characters",
        ),
    ],
)
def test_files_that_do_not_suit_are_refused_in_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        applications.apply("text", data=tmp_path / name, out=tmp_path / "here", size="tiny", progress=False)
