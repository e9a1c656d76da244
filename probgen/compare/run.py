"""The loop over repeats and methods."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from probgen.compare.checks import check_inputs
from probgen.compare.comparison import Comparison
from probgen.compare.jobs import at_once
from probgen.compare.methods import Fitted, Method, Sampler, about
from probgen.compare.metrics import COLUMNS, select
from probgen.compare.protocol import environment
from probgen.compare.trial import FLOOR, HALVES, MEMORISER, given_parts, known_of, outcome, seeds_of
from probgen.compare.units import units_of_data
from probgen.core import check_count, sample_of, seed_of
from probgen.evaluation.draws.feature_distances import Features
from probgen.mmd.scaling import Scale


def compare(
    methods: Mapping[str, Method | Sampler | Fitted],
    reference: Any,
    metrics: Sequence[str] | None = None,
    *,
    train: Any = None,
    n: int | None = None,
    repeats: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    jobs: int | None = None,
    scale: Scale = "auto",
    modes: tuple[Any, float] | None = None,
    features: Features | None = None,
    labels: tuple[Any, Any] | None = None,
    progress: bool = True,
    protocol: Mapping[str, Any] | None = None,
) -> Comparison:
    r"""Judge methods by their draws against data that they have not seen.

    In every repeat each :class:`Method` is fitted anew and ``n`` points are drawn; what is ready to sample is
    drawn from only. Beside them stand baselines. The floor is real data against real data: ``n`` training
    points (all of them where there are fewer) against the reference or, without ``train``, one random half
    of the reference against the other; what is measured beside training data or by features that were
    learned from them (neighbour ratio, copying, features) is always from two halves of the reference. With
    ``train`` there is a memoriser too, which draws training points with replacement.

    Distances are between columns in units of their own, their standard deviations in the real data, so that
    a wide column does not hide what a narrow one has to say; images, whose numbers have one unit, are taken
    as they are. A method whose own diagnosis found something wrong (:class:`Fitted`) is marked in the table.

    The same ``seed`` gives the same numbers, times apart, whichever other methods are compared; torch's
    global random state is left as it was.

    Args:
        methods: name -> a :class:`Method`, a :class:`Fitted`, or a sampler called as ``f(n, seed=seed)``.
        reference: held-out data, shape (m, \*event), m at least 8: a tensor, an array or a frame; or a tuple
            of these, as of several observed sites, which metrics see side by side, and methods as they are.
        metrics: names of metrics or single columns, in ``probgen.compare.METRICS``; where not given all
            that judge draws and likelihoods. Those of codes are named: "reconstruction", "code_law", "gaps",
            "probe", "clusters", "robustness", "control".
        train: what methods are fitted to, shape (t, \*event), of the same form; needed by a :class:`Method`.
        n: points drawn from each method; as many as the reference has where not given.
        repeats: fits and draws of each method; intervals are over these.
        seed, generator: everything random comes from this, the repeat and the method's name; one at most,
            seed 0 where not given.
        jobs: how many methods are at work at once, each in a process of its own, -1 for as many as there are
            cores. One where not given, or what ``joblib.parallel_config`` says, which also knows clusters
            (Dask, Ray). The numbers are the same however many there are.
        scale: "pooled" for units by column, None for numbers as they are (say it of flattened images), a
            tensor of shape event to divide by, or "auto": None for events of three dimensions or more, else
            "pooled". It stands in the protocol.
        modes: of the true law, where it is a mixture of separate round ones: their centres, shape
            (K, \*event), and their standard deviation, as for :func:`probgen.evaluation.mode_coverage`.
        features: what Fréchet and kernel distances are taken in, such as
            :func:`probgen.evaluation.classifier_features` of labelled training data.
        labels: the classes of the rows of train and of reference, whole numbers, −1 where missing, for
            metrics of codes (of what is ``coded``) and of draws of a class: ``labels=(y, y_test)``.
        progress: show a bar.
        protocol: further facts for the record; ``title`` heads the report.

    Raises:
        ValueError, TypeError: for data that are not finite or not alike, an unknown metric, a name that a
            baseline has, and, with the method's name, for what is wrong in a method.
        RuntimeError: where a method fails with another error; names the method.

    >>> import torch
    >>> normal = lambda n, seed: torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))
    >>> result = compare({"normal": normal}, normal(50, seed=1), ["energy"], repeats=2, progress=False)
    >>> sorted(result.frame["method"].unique())
    ['normal', 'reference against reference']
    """
    import pandas as pd

    chosen = select(metrics)
    given = given_parts(train), given_parts(reference)
    like = torch.empty(0)
    reference = sample_of(reference, "reference", like=like)
    train = None if train is None else sample_of(train, "train", like=like)
    check_inputs(methods, reference, train, reserved=(FLOOR, HALVES, MEMORISER))
    n = len(reference) if n is None else n
    n, repeats = check_count("n", n), check_count("repeats", repeats)
    seed = check_count("seed", seed_of(seed, generator, default=0), least=0)
    known = known_of(modes, features, labels, train, reference)
    baselines = [HALVES] if train is None else [MEMORISER, FLOOR]
    # All seeds come from one, by method and repeat, so that another method changes none of them.
    names = [*methods, *baselines]
    seeds = {name: [seeds_of(seed, repeat, name) for repeat in range(repeats)] for name in names}
    units = units_of_data(scale, reference, train)
    rows: list[tuple[str, str, int, float, str]] = []
    notes: dict[str, list[Mapping[str, str | float]]] = {name: [] for name in methods}
    findings: dict[str, list[list[str]]] = {name: [] for name in methods}
    first: dict[str, Fitted] = {}
    draws: dict[str, Tensor] = {}
    started, clock = datetime.now(UTC), time.perf_counter()
    # A method is fitted and drawn from afresh at each repeat, by seeds of its own, wherever that is done.
    trials = [(repeat, name) for repeat in range(repeats) for name in names]
    outcomes = at_once(
        outcome,
        [
            (name, methods.get(name), reference, train, n, seeds[name][repeat], units, given, chosen, known)
            for repeat, name in trials
        ],
        [{"kept": repeat == 0} for repeat, _ in trials],
        jobs=jobs,
    )
    with tqdm(total=len(trials), disable=not progress) as bar:
        for repeat, name in trials:
            bar.set_description(f"repeat {repeat + 1} of {repeats}, {name}")
            found = next(outcomes)
            if name in methods:
                notes[name].append(found.notes)
                findings[name].append(list(found.findings))
            if found.fitted is not None and found.draws is not None:
                first[name], draws[name] = found.fitted, found.draws
            said = " ".join(found.findings)
            rows += [(name, column, repeat, value, said) for column, value in found.values.items()]
            bar.update()
    if not rows:
        raise ValueError(f"metrics should have one that some method has but has only {', '.join(chosen)}")
    measured = {column for _, column, *_ in rows}
    # What is needed to do the same again, or to know why it came out otherwise.
    record = {
        "facts": dict(protocol or {}),
        "methods": {name: about(method) for name, method in methods.items()},
        "metrics": {column: COLUMNS[column].about for column in COLUMNS if column in measured},
        "reference_shape": list(reference.shape),
        "train_shape": None if train is None else list(train.shape),
        "n": n,
        "repeats": repeats,
        "seed": seed,
        "seeds": seeds,
        "scale": units.about,
        "features": None if features is None else str(features),
        "notes": notes,
        "findings": findings,
        "dtype": str(reference.dtype).removeprefix("torch."),
        **environment(reference.device),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 3),
    }
    frame = pd.DataFrame(rows, columns=["method", "metric", "repeat", "value", "findings"])
    return Comparison(frame, baselines, draws, first, record)
