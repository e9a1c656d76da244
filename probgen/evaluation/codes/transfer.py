"""What a few labels are worth on a code: a linear probe and nearest neighbours, beside other codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count, seed_of, tensor_of
from probgen.evaluation.codes.labelled_codes import Array, codes_of, labels_of, one_unit

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 5
PROBES = ("linear", "neighbours")


def transfer(
    codes: Mapping[str, tuple[Any, Any]],
    labels: Any,
    test_labels: Any,
    *,
    sizes: Sequence[int] = (10, 100, 1000),
    draws: int = 10,
    probes: Sequence[str] = PROBES,
    reference: str | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return the accuracy of classifiers that learn from a few labels, for several codes of the same data.

    "linear" is a logistic regression with an L2 penalty (scikit-learn's C = 1), "neighbours" the vote of the
    5 nearest labelled codes, or of as many as there are labels of a class where these are fewer. Codes are
    centred and divided by one number, so that their coordinates have the mean variance 1 over the training
    rows, labelled or not: neither classifier then depends on the units of a code or on how it is turned.

    Each draw of labelled rows, the classes in equal shares, is the same for all codes, so that differences
    are paired: their standard errors, over draws, are those of the differences. The test rows are the same
    for all draws and are not in these errors.

    Args:
        codes: by name, the codes of the training rows and of the test rows, (n, coordinates) and (m,
            coordinates), such as ``(encoded(vae, x), encoded(vae, test))``, ``(x, test)`` for the data
            themselves, and :func:`principal_components`.
        labels, test_labels: shapes (n,) and (m,), whole numbers.
        sizes: numbers of labels, each at least the number of classes.
        draws: of the labelled rows, for each size.
        probes: of "linear" and "neighbours".
        reference: the name of the codes that the others are compared with; the first where not given.
        seed, generator: of the draws, one at most; seed 0 where not given.

    Returns:
        a row for each of the codes, classifiers and sizes: ``codes``, ``probe``, ``labels``, ``accuracy`` and
        its ``stderr``, ``difference`` of the accuracy to that of the reference and its
        ``difference_stderr``; errors of one draw are NaN.

    Raises:
        ValueError: for codes and labels that do not fit, and classes with fewer rows than a size asks for.

    >>> labels = torch.arange(200) % 2
    >>> x = labels[:, None] + torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> codes = {"data": (x, x), "first": (x[:, :1], x[:, :1])}
    >>> table = transfer(codes, labels, labels, sizes=[10], draws=3)
    >>> table.columns.tolist()[3:]
    ['accuracy', 'stderr', 'difference', 'difference_stderr']
    """

    import pandas as pd

    if not isinstance(codes, Mapping) or not all(
        isinstance(p, tuple) and len(p) == 2 for p in codes.values()
    ):
        raise TypeError(
            "codes should be a mapping of names to pairs, codes of training rows and of test rows"
        )
    if not codes:
        raise ValueError("codes should have at least 1 entry but have 0")
    reference = next(iter(codes)) if reference is None else reference
    if reference not in codes:
        raise ValueError(f"reference should be one of {', '.join(codes)} but is {reference!r}")
    sides = {name: _scaled(*pair, name) for name, pair in codes.items()}
    rows, test_rows = (len(part) for part in sides[reference])
    for name, (train, test) in sides.items():
        if (len(train), len(test)) != (rows, test_rows):
            raise ValueError(
                f"codes of {name!r} should have {rows} and {test_rows} rows, as those of {reference!r}, but "
                f"have {len(train)} and {len(test)}"
            )
    y, y_test = labels_of(labels, "labels", rows), labels_of(test_labels, "test_labels", test_rows)
    if len(np.unique(y)) < 2:
        raise ValueError("labels should have at least 2 classes but have 1")
    if not isinstance(sizes, Sequence) or not sizes:
        raise ValueError(f"sizes should be a sequence of at least one number of labels but are {sizes!r}")
    if isinstance(probes, str) or not probes or not set(probes) <= set(PROBES):
        raise ValueError(f"probes should be a list of some of {', '.join(PROBES)} but are {probes!r}")
    draws = check_count("draws", draws)
    source = np.random.default_rng(seed_of(seed, generator, default=0) % 2**64)
    table: list[dict[str, Any]] = []
    for size in sizes:
        chosen = [_drawn(y, check_count("sizes", size), source) for _ in range(draws)]
        for probe in probes:
            found = {
                name: np.array([_accuracy(probe, x[own], y[own], x_test, y_test) for own in chosen])
                for name, (x, x_test) in sides.items()
            }
            for name, values in found.items():
                apart = values - found[reference]
                table.append(
                    {
                        "codes": name,
                        "probe": probe,
                        "labels": size,
                        "accuracy": values.mean(),
                        "stderr": _stderr(values),
                        "difference": apart.mean(),
                        "difference_stderr": _stderr(apart),
                    }
                )
    return pd.DataFrame(table)


def principal_components(x: Any, test: Any, size: int) -> tuple[Tensor, Tensor]:
    r"""Return the first principal components of training and test rows, both by the training rows alone.

    Args:
        x, test: shapes (n, \*event) and (m, \*event).
        size: how many components, at most n and the coordinates of an event.

    Returns:
        shapes (n, size) and (m, size).

    Raises:
        ValueError: for rows that are not finite or of other events, and a size that is too large.
    """
    train, held_out = (_rows(part, name) for part, name in ((x, "x"), (test, "test")))
    if train.shape[1] != held_out.shape[1]:
        raise ValueError(
            f"test should have {train.shape[1]} numbers a row, as x, but has {held_out.shape[1]}"
        )
    centre, axes = principal_axes(train, size)
    return (train - centre) @ axes, (held_out - centre) @ axes


def principal_axes(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the mean (d) of rows and the directions (d, size) in which they vary most, of length 1."""
    size = check_count("size", size)
    if size > min(x.shape):
        raise ValueError(f"size should be at most {min(x.shape)} for x of shape {tuple(x.shape)}: {size}")
    centre = x.mean(0)
    unit = (x - centre).abs().max()
    apart = (x - centre) / torch.where(unit > 0, unit, 1.0)  # its squares neither overflow nor vanish
    # Of rows by the million the covariance is small where the rows are not; eigenvalues come from the least.
    axes = torch.linalg.eigh(apart.T @ apart).eigenvectors.flip(1)[:, :size]
    return centre, axes


def _rows(values: Any, name: str) -> Tensor:
    """Return one row a datum, in float64, that are finite."""
    found = tensor_of(values, name, dtype=torch.float64)
    if not isinstance(found, Tensor) or found.dim() < 2 or not found.numel():
        shape = tuple(found.shape) if isinstance(found, Tensor) else f"none: it is a {type(found).__name__}"
        raise ValueError(f"{name} should be a tensor of shape (n, *event) but has shape {shape}")
    if found.is_complex() or found.layout is not torch.strided:
        what = found.dtype if found.is_complex() else found.layout
        raise ValueError(f"{name} should be dense and of real numbers but is {what}")
    rows = found.flatten(1).double()
    if not rows.isfinite().all():
        raise ValueError(f"{name} should be finite but holds NaN or infinity")
    return rows


def _scaled(train: Any, test: Any, name: str) -> tuple[Array, Array]:
    """Return codes centred and divided by one number, by the training rows."""
    x, x_test = codes_of(train, f"codes of {name!r}"), codes_of(test, f"test codes of {name!r}")
    if x.shape[1] != x_test.shape[1]:
        raise ValueError(
            f"test codes of {name!r} should have {x.shape[1]} coordinates but have {x_test.shape[1]}"
        )
    centre, scale = one_unit(x)
    if scale == 0:
        raise ValueError(f"codes of {name!r} should vary but are all the same")
    return (x - centre) / scale, (x_test - centre) / scale


def _drawn(y: Array, size: int, source: np.random.Generator) -> Array:
    """Return rows of which the classes have equal shares, as far as their number is a multiple."""
    classes = np.unique(y)
    if size < len(classes):
        raise ValueError(f"sizes should be at least {len(classes)}, one label a class, but have {size}")
    counts = np.full(len(classes), size // len(classes))
    counts[source.permutation(len(classes))[: size % len(classes)]] += 1
    rows = []
    for label, count in zip(classes, counts, strict=True):
        own = np.flatnonzero(y == label)
        if len(own) < count:
            raise ValueError(f"class {label} should have {count} rows to draw but has {len(own)}")
        rows.append(source.choice(own, count, replace=False))
    return np.concatenate(rows)


def _accuracy(probe: str, x: Array, y: Array, x_test: Array, y_test: Array) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    if probe == "linear":
        model: Any = LogisticRegression(max_iter=2000)
    else:
        least = int(np.unique(y, return_counts=True)[1].min())
        model = KNeighborsClassifier(min(NEIGHBOURS, least))
    return float(model.fit(x, y).score(x_test, y_test))


def _stderr(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
