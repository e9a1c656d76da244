"""Anomalies: a class left out of training, or all but one, or rows of a CSV, by VAEs and by distances."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd

from probgen import evaluation, plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.anomaly.cases import (
    Case,
    contaminated,
    is_pictures,
    of_pictures,
    of_table,
    scores_of_case,
)
from probgen.compare.columns import SHARE, Column

RATE = 0.05
MEASURES = {
    "auc": Column(
        "AUC, left out", "A class left out of training against the others: ½ by chance.", 1.0, SHARE
    ),
    "precision": Column("average precision", "A class left out, by precision over recall.", 1.0, SHARE),
    "false_alarms": Column(
        "false alarms at 95 %",
        "A class left out: normal rows above the score that 95 % of anomalies reach.",
        0.0,
        SHARE,
    ),
    "one_class": Column(
        "AUC, one class", "All other classes against the only one that is learned.", 1.0, SHARE
    ),
    "alarms": Column(
        "alarms, set to 5 %",
        "Held-out normal rows above a conformal threshold, which promises at most 0.05 on average.",
        None,
        SHARE,
    ),
    "caught": Column("caught, set to 5 %", "Anomalies above that threshold.", 1.0, SHARE),
}
OURS = {
    "reconstruction": "The squared error of what the VAE decodes of a row's own code.",
    "code neighbours": "The distance of a code to the 5th nearest code of a training row.",
    "combined": "Fisher's combination of the calibrated p-values of both: how far "
    "a row lies from what the decoder can draw, and how rare its code is.",
    "negative log-likelihood": "−log p(x) of the VAE, by importance sampling.",
}
BASELINES = {
    "neighbours": "The distance to the 5th nearest training row.",
    "principal components": "The distance to the plane of up to 32 principal components.",
    "isolation forest": "How soon random splits part a row from the others (100 trees).",
}


Scored = Callable[[int, bool], dict[str, pd.DataFrame]]


@application(
    "anomaly",
    "What is unlike the rest",
    data="pictures with classes; or a CSV, judged where it has a column named anomaly, of 0 and 1",
    shipped=("mnist", "digits"),
    measures=MEASURES,
)
def anomaly(study: Study) -> None:
    """Score each case by every method; in pictures a repeat is a class, in a CSV a split of its rows."""
    cases, most = of_pictures(study) if is_pictures(study) else of_table(study)
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)

    @functools.cache
    def scored(repeat: int, one: bool) -> dict[str, pd.DataFrame]:
        return scores_of_case(
            study, cases(repeat, one), f"{'one-class' if one else 'left-out'}-{repeat}", [*BASELINES]
        )

    repeats = min(most, study.pick(full=10, quick=3, tiny=2))
    for repeat in range(repeats):
        for name in study.methods:
            judged = functools.partial(_judged, scored, name, repeat, is_pictures(study))
            study.measure(name, repeat, judged)
    _show(study, cases(0, False), scored(0, False), repeats)


def _judged(scored: Scored, method: str, repeat: int, classes: bool) -> dict[str, float]:
    """Return the measures of a method in a repeat; without anomalies that are known, false alarms alone."""
    left_out = {name: frame[method] for name, frame in scored(repeat, False).items()}
    threshold = evaluation.conformal_threshold(left_out["calibration"], false_alarm=RATE)
    found = {"alarms": float((left_out["normal"] > threshold).mean())}
    if len(left_out["anomalies"]):
        auc, precision, false_alarms = evaluation.detection(left_out["normal"], left_out["anomalies"])
        found |= {"auc": auc.value, "precision": precision.value, "false_alarms": false_alarms.value}
        found["caught"] = float((left_out["anomalies"] > threshold).mean())
    if classes:
        one = {name: frame[method] for name, frame in scored(repeat, True).items()}
        found["one_class"] = evaluation.detection(one["normal"], one["anomalies"]).auc.value
    return found


def _show(study: Study, case: Case, scores: dict[str, pd.DataFrame], repeats: int) -> None:
    """Show curves and a threshold of the first case, its worst rows, the classes, and contamination."""
    best = "combined"
    threshold = evaluation.conformal_threshold(scores["calibration"][best], false_alarm=RATE)
    if len(case.anomalies):
        pairs = {name: (scores["normal"][name], scores["anomalies"][name]) for name in study.methods}
        study.figure(
            "curves", plots.roc_curves(pairs, false_alarm=RATE), "Caught against false alarms, first case."
        )
        study.figure(
            "threshold",
            plots.score_histograms(*pairs[best], threshold=threshold, score=best),
            "Scores of the first case; the threshold is calibrated on other normal rows to 5 % false alarms.",
        )
        study.table(
            "contamination",
            contaminated(study, case, [*BASELINES]),
            "AUC where some training rows are anomalies.",
        )
    if case.lines is not None:
        suspects = pd.DataFrame({"line": case.lines, best: scores["normal"][best]})
        study.table(
            "suspects",
            suspects.sort_values(best, ascending=False, kind="stable")[:20],
            "Lines of the file that look least normal among the test rows that are not known as anomalies.",
        )
    if case.task.image_shape is not None:
        suspicious = np.argsort(-scores["normal"][best].to_numpy(), kind="stable")[:20]
        missed = np.argsort(scores["anomalies"][best].to_numpy(), kind="stable")[:20]
        worst = {
            "normal, most suspicious": case.normal[suspicious.copy()],
            "anomalies, least suspicious": case.anomalies[missed.copy()],
        }
        figure = plots.image_grid(worst, image_shape=case.task.image_shape)
        study.figure("worst cases", figure, f"The rows that {best} is most wrong about, in the first case.")
        frame = pd.DataFrame(study.rows, columns=["score", "metric", "class", "value"])
        classes = frame[frame["metric"] == "auc"].pivot(index="score", columns="class", values="value")
        study.table("by class", classes.reset_index(), "AUC for each class left out: a mean hides the worst.")
