"""Spoken words as spectrograms, a case for each speaker who is left out, and what methods draw in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from probgen import data
from probgen.applications.frame.study import Study
from probgen.applications.parts.speech import models as speech_models
from probgen.core import seeded
from probgen.models import VAE, VQVAE
from probgen.objectives import SVI, VQ

FLOOR = "real recordings"
"""Recordings that no method learns from, which stand for draws."""

LEAST = 20
"""Recordings of a word by a speaker: of ten one to judge by, one to stand for a draw, eight to learn from."""

STEPS = 1000
"""Of each training."""


class Spoken(NamedTuple):
    """Recordings as log-mel spectrograms, (n, bands, frames), with what is told of each, and its part."""

    x: Tensor
    words: Tensor
    speakers: Tensor
    kinds: Tensor
    context: Tensor
    part: Tensor


class Case(NamedTuple):
    """Rows of a repeat: to learn from, to judge by, to stand for draws, and of the speaker left out."""

    train: Tensor
    test: Tensor
    real: Tensor
    left_out: Tensor


def spoken_words(study: Study, told: data.Speech, analysis: data.LogMel) -> Spoken:
    """Return spectrograms of a number of frames that folds, of the words and speakers that suit the size."""
    words, speakers = study.pick(full=(100, 10), quick=(10, 3), tiny=(3, 3))
    kept = (told.words < words) & (told.speakers < speakers)
    own = [part[kept].to(study.device) for part in (told.waves, told.words, told.speakers, told.takes)]
    waves, word, speaker, take = own
    numbers = [int(part.max()) + 1 for part in (word, speaker)]
    if numbers[0] < 2 or numbers[1] < 3:
        raise ValueError(
            f"{told.name} should have 2 words and 3 speakers at least but has {numbers[0]} and {numbers[1]}"
        )
    kinds = word * numbers[1] + speaker
    part = torch.empty_like(kinds)
    for kind in range(numbers[0] * numbers[1]):
        rows = (kinds == kind).nonzero()[:, 0]
        if len(rows) < LEAST:
            names = told.word_names[kind // numbers[1]], told.speaker_names[kind % numbers[1]]
            raise ValueError(
                f"{told.name} should have {LEAST} recordings of each word by each speaker but has "
                f"{len(rows)} of {names[0]!r} by {names[1]!r}"
            )
        rank = torch.arange(len(rows), device=rows.device) * 10 // len(rows)
        part[rows[take[rows].argsort()]] = rank.clamp(max=2)  # 0 to judge by, 1 for draws, 2 to learn from
    folds = speech_models.FOLD * analysis.hop
    x = analysis(pad(waves, (0, -waves.shape[1] % folds + folds - analysis.hop)))
    context = torch.cat([one_hot(word, numbers[0]), one_hot(speaker, numbers[1])], 1).to(x)
    return Spoken(x, word, speaker, kinds, context, part)


def case_of(spoken: Spoken, repeat: int) -> Case:
    """Return the rows of a repeat; one row that stands for a draw for each row to judge by."""
    left_out = spoken.speakers == repeat
    train, test, real = (((spoken.part == part) & ~left_out).nonzero()[:, 0] for part in (2, 0, 1))
    return Case(train, test, real, left_out.nonzero()[:, 0])


def draws_of(study: Study, spoken: Spoken, case: Case, method: str, repeat: int) -> Tensor:
    """Return a spectrogram for each recording to judge by, of its word and speaker."""
    if method == FLOOR:
        return spoken.x[case.real]
    train = spoken.x[case.train]
    mean, scale = train.mean(), train.std()
    x, told, wanted = ((train - mean) / scale).flatten(1), spoken.context[case.train], spoken.kinds[case.test]
    seed = study.seed_of(method, repeat)
    words, speakers = (int(part.max()) + 1 for part in (spoken.words, spoken.speakers))
    known = speech_models.principal_components(x, spoken.kinds[case.train], count=words * speakers)
    with seeded(seed):
        if method == "class mean":
            drawn = known.means[wanted]
        elif method == "Gaussian":
            drawn = speech_models.gaussian_draws(known, wanted)
        else:
            of_each = speech_models.Components(*(part.unflatten(0, (words, speakers)) for part in known))
            run = f"{method}-{repeat}"
            model = _trained(study, method, x, told, of_each, train.shape[1], seed=seed, run=run)
            drawn = speech_models.draws(model, spoken.context[case.test])
    return drawn.reshape(-1, *train.shape[1:]) * scale + mean


def _trained(
    study: Study,
    method: str,
    x: Tensor,
    told: Tensor,
    known: speech_models.Components,
    bands: int,
    *,
    seed: int,
    run: str,
) -> VAE | VQVAE:
    """Return a model that has learned spectrograms, given what is told of each."""
    steps = study.pick(full=STEPS, quick=STEPS // 10, tiny=2)
    options: dict[str, Any] = {"seed": seed, "method": method, "batch_size": 64}
    if method == "CVAE":
        vae = speech_models.cvae(bands, x.shape[1] // bands, known).to(x.device)
        study.fit(run, SVI(vae), (x, told), steps=steps, **options)
        return vae.eval()
    vq = speech_models.vq_vae(bands, x.shape[1] // bands, told.shape[1]).to(x.device)
    study.fit(f"{run}-codes", VQ(vq), (x, told), steps=steps, **options)
    vq.requires_grad_(False)
    vq.prior.requires_grad_(True)
    study.fit(f"{run}-prior", SVI(vq), (x, told), steps=steps, **options)
    return vq.eval()
