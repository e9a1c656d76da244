"""Speech: on tones that stand for words, so that it is known what is heard."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import applications, data
from probgen.applications.parts.speech.judges import recogniser, variety
from probgen.applications.parts.speech.models import (
    Components,
    cvae,
    draws,
    gaussian_draws,
    principal_components,
)
from probgen.core import seeded


def made(path, *, speakers=3, takes=20, words=("high", "low")):
    """Write words that are tones with a speaker's pitch and a take's length."""
    source = np.random.default_rng(0)
    path.mkdir()
    for speaker in range(speakers):
        for word, base in zip(words, (1500.0, 500.0), strict=False):
            for take in range(takes):
                t = torch.arange(int(source.uniform(2000, 4000))) / 8000
                wave = torch.sin(2 * math.pi * base * (1 + 0.1 * speaker) * t)
                noise = 0.01 * torch.from_numpy(source.normal(size=len(t))).float()
                (path / f"{word}_s{speaker}_{take}.wav").write_bytes(data.wav_bytes((wave + noise) / 2, 8000))
    return path


def test_gaussians_have_the_mean_and_covariance_of_their_kind():
    """Rows of rank 2: their law is that of the draws; a variance of 20,000 draws has an error of 1 %."""
    torch.manual_seed(0)
    x = torch.randn(200, 2) @ torch.tensor([[3.0, 0, 0, 1], [0, 1, 1, 0]]) + torch.tensor([5.0, 0, 0, 0])
    kinds = torch.arange(200) % 2
    known = principal_components(x, kinds, count=3, components=2)
    drawn = gaussian_draws(known, torch.ones(20_000, dtype=torch.int64))
    own = x[kinds == 1]
    torch.testing.assert_close(drawn.mean(0), own.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.T.cov(correction=0), own.T.cov(correction=0), atol=0.4, rtol=0)
    torch.testing.assert_close(known.means[0], x[kinds == 0].mean(0))
    assert not known.means[2].any()  # of a kind without rows
    assert not known.loadings[2].any()


def test_an_untrained_cvae_is_the_principal_components_of_each_kind():
    """Its draws are theirs, and its guide's mean is the posterior mean: data of rank 2 come back."""
    torch.manual_seed(0)
    bands, frames = 3, 8
    x = torch.randn(200, 2) @ torch.randn(2, bands * frames) + 1e-3 * torch.randn(200, bands * frames)
    word, speaker = torch.arange(200) % 2, torch.arange(200) // 2 % 2
    x += word[:, None] - 2 * speaker[:, None]
    known = principal_components(x, 2 * word + speaker, count=4, components=2)
    model = cvae(bands, frames, Components(*(part.unflatten(0, (2, 2)) for part in known)))
    context = torch.cat([torch.eye(2)[word], torch.eye(2)[speaker]], 1)
    with torch.no_grad():
        back = model.decode(model.encode(x, context).mean, context).mean
    torch.testing.assert_close(back, x, atol=0.01, rtol=0)
    with seeded(1):
        drawn = draws(model, context)
    with seeded(1):
        codes = torch.randn(200, 2)
    kind = 2 * word + speaker
    torch.testing.assert_close(drawn, known.means[kind] + (codes[:, None] @ known.loadings[kind])[:, 0])


def test_takes_that_do_not_differ_are_refused():
    with pytest.raises(ValueError, match="should differ but all 4 are the same"):
        principal_components(torch.ones(4, 6), torch.zeros(4, dtype=torch.int64), count=1)


def test_a_recogniser_hears_what_it_learned_and_variety_is_that_of_pairs():
    x = torch.randn(60, 4, 30, generator=torch.Generator().manual_seed(0))
    words = torch.arange(60) % 2
    x[words == 1, 2] += 4
    assert (recogniser(x[:40], words[:40])(x[40:]) == words[40:]).all()
    assert variety(torch.tensor([[0.0], [2.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])) == 3.0


def test_words_of_a_folder_are_drawn_and_heard(tmp_path):
    own = made(tmp_path / "own")
    folder = applications.apply("speech", data=own, out=tmp_path / "here", size="tiny", progress=False)
    frame = pd.read_csv(folder / "metrics.csv")
    found = frame.pivot_table(index="method", columns="metric", values="value")
    assert set(found.index) == {"CVAE", "VQ-VAE", "class mean", "Gaussian", "real recordings"}
    assert (found.loc[["real recordings", "Gaussian"], ["heard", "taught"]] == 1).all(axis=None)
    assert found.loc["class mean", "variety"] < 0.5 < found.loc["real recordings", "variety"]
    for name in ("CVAE-s1", "VQ-VAE-s2", "real-recordings-s1"):
        sound, rate = data.read_wav(folder / f"{name}.wav")
        assert rate == 8000
        assert len(sound) > 2 * 8000
    assert (folder / "spectrograms.png").exists()
    assert '<audio controls preload="none" src="CVAE-s1.wav">' in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"takes": 19},
            "should have 20 recordings of each word by each speaker but has 19 of 'high' by 's0'",
        ),
        ({"speakers": 2}, "should have 2 words and 3 speakers at least but has 2 and 2"),
        ({"words": ("high",)}, "should have 2 words and 3 speakers at least but has 1 and 3"),
    ],
)
def test_too_few_recordings_are_refused(tmp_path, options, said):
    own = made(tmp_path / "own", **options)
    with pytest.raises(ValueError, match=said):
        applications.apply("speech", data=own, out=tmp_path / "here", size="tiny", progress=False)
