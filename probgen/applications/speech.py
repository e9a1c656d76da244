"""Speech: words drawn as sound, given word and speaker, and heard by a recogniser; a speaker is left out."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from probgen import data, plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.speech.cases import FLOOR, Case, Spoken, case_of, draws_of, spoken_words
from probgen.applications.parts.speech.judges import Listener, heard, judged_by, listener_of
from probgen.compare.columns import POSITIVE, SHARE, Column

MEASURES = {
    "heard": Column(
        "heard as told", "Draws in which a recogniser of real recordings hears the word told.", 1.0, SHARE
    ),
    "frechet": Column(
        "Fréchet distance",
        "Between draws and new recordings in the features of a classifier of words.",
        "floor",
        POSITIVE,
    ),
    "variety": Column(
        "variety",
        "Mean distance of two draws of a word by a speaker, over that of two new recordings.",
        1.0,
        POSITIVE,
    ),
    "taught": Column(
        "teaches",
        "Recordings of the speaker left out in which a recogniser that learned from draws alone hears the "
        "right word.",
        1.0,
        SHARE,
    ),
}
OURS = {
    "CVAE": "A VAE told word and speaker, around their principal components: what is learned is added.",
    "VQ-VAE": "A code for each 64 ms, and a transformer that writes codes given the word and the speaker.",
}
BASELINES = {
    "class mean": "The mean spectrogram of a word by a speaker, each time.",
    "Gaussian": "A normal law of each word by each speaker: probabilistic principal components, 10 of them.",
}


@application(
    "speech",
    "Spoken words by word and speaker",
    data="recordings of single words by 3 speakers or more: a folder of files WORD_SPEAKER_TAKE.wav",
    shipped=("fsdd",),
    measures=MEASURES,
)
def speech(study: Study) -> None:
    """Leave out each speaker in turn; learn from the others, draw words as sound, and judge what is heard."""
    told = data.speech(None if str(study.source) == "fsdd" else study.source)
    analysis = data.LogMel(told.rate)
    spoken = spoken_words(study, told, analysis)
    study.fact("recordings", told.read)
    study.fact("repeats are", "speakers: the one left out; models learn from the others")
    study.fact(
        "parts", "of each word by each speaker a tenth to judge by, the next to stand for draws, in order"
    )
    study.fact("draws", "means given the code, of Gaussians too; one for each recording to judge by")
    study.fact(
        "judged",
        "as sound, 10 steps of Griffin and Lim from log-mels; so are real recordings that stand for draws; "
        "those to judge by are as they were recorded",
    )
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)
    study.baseline(FLOOR, "New recordings, through spectrograms to sound as draws are.", floor=True)
    case = functools.cache(functools.partial(case_of, spoken))
    drawn = functools.cache(lambda method, repeat: draws_of(study, spoken, case(repeat), method, repeat))
    listener = functools.cache(lambda repeat: listener_of(study, spoken, case(repeat), repeat))

    def judged(method: str, repeat: int) -> dict[str, float]:
        return judged_by(spoken, case(repeat), heard(analysis, drawn(method, repeat)), listener(repeat))

    speakers = int(spoken.speakers.max()) + 1
    for repeat in range(min(speakers, study.pick(full=10, quick=2, tiny=2))):
        for method in study.methods:
            study.measure(method, repeat, functools.partial(judged, method, repeat))
    _show(study, told, analysis, spoken, case(0), lambda method: drawn(method, 0), listener(0))


def _show(
    study: Study,
    told: data.Speech,
    analysis: data.LogMel,
    spoken: Spoken,
    case: Case,
    drawn: Callable[[str], Tensor],
    listener: Listener,
) -> None:
    """Show and write what is drawn of each word by a speaker, and which words are heard, in a case."""
    words, speakers = spoken.words[case.test], spoken.speakers[case.test]
    names = [told.word_names[int(word)] for word in words.unique()]
    new, unheard = (
        listener.hears(spoken.x[rows]) == spoken.words[rows] for rows in (case.test, case.left_out)
    )
    study.fact(
        "recogniser",
        f"of recordings as they are it hears {new.double().mean():.3f} of new ones and "
        f"{unheard.double().mean():.3f} of the speaker left out, in the first case",
    )
    first = [int((words == word).nonzero()[0, 0]) for word in words.unique()]
    rows = {name: [*drawn(name)[first].cpu()] for name in (FLOOR, *OURS, *BASELINES)}
    study.figure(
        "spectrograms",
        plots.spectrograms(rows, heads=names, frame=analysis.hop / told.rate),
        "One draw of each word by the first speaker, none picked out; bright is loud, up is high.",
    )
    shares = {
        name: [float((listener.hears(x) == words)[words == word].double().mean()) for word in words.unique()]
        for name, x in ((name, heard(analysis, drawn(name))) for name in study.methods)
    }
    frame = pd.DataFrame({"word": names, **shares})
    study.table("heard by word", frame, "Share of draws in which the word told is heard, in the first case.")
    pause = torch.zeros(told.rate // 4)
    for speaker in speakers.unique():
        who = told.speaker_names[int(speaker)]
        said = [int(((words == word) & (speakers == speaker)).nonzero()[0, 0]) for word in words.unique()]
        for name in (FLOOR, *OURS, *BASELINES):
            sounds = analysis.sound(drawn(name)[said].cpu(), iterations=60)
            loud = 0.9 * sounds / sounds.abs().amax(1, keepdim=True)
            wave = torch.cat([part for sound in loud for part in (sound, pause)])
            file = f"{name.replace(' ', '-')}-{who}.wav"
            study.output(file, data.wav_bytes(wave, told.rate), f"{', '.join(names)}: {name}, as {who}.")
