"""What distorted data do to a code and its reconstruction, with probe and decoder as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import Coded, check_count, seed_of, seeded, tensor_of
from probgen.data import Blur, GaussianNoise, Masking, Rotation, Scaling
from probgen.data.corruptions import Corruption
from probgen.evaluation.codes.encoded import encoded, reconstructed
from probgen.evaluation.codes.labelled_codes import Array, codes_of, labels_of
from probgen.evaluation.codes.transfer import principal_axes

if TYPE_CHECKING:
    import pandas as pd

Levels = Mapping[float, Corruption | None]
"""Levels of a distortion with what it does to rows; None at the level at which it does nothing."""


def distortions(image_shape: Sequence[int] | None = None) -> dict[str, Levels]:
    """Return distortions by name and level: noise and missing values, and of flat pictures four more.

    "noise" has standard deviations 0.1, 0.25 and 0.5 in the units of the data, for data in [0, 1]; "missing"
    sets that share of values to 0; "blur" is in pixels, "rotation" in degrees, "scale" a factor.

    Args:
        image_shape: (H, W) or (C, H, W), where rows are flat pictures.
    """
    found: dict[str, Levels] = {
        "noise": {0.0: None} | {scale: GaussianNoise(scale) for scale in (0.1, 0.25, 0.5)},
        "missing": {0.0: None} | {share: Masking(share) for share in (0.1, 0.25, 0.5)},
    }
    if image_shape is not None:
        shape = tuple(image_shape)
        found["blur"] = {0.0: None} | {scale: Blur(shape, scale) for scale in (0.5, 1.0, 2.0)}
        found["rotation"] = {0.0: None} | {angle: Rotation(shape, angle) for angle in (15.0, 30.0, 45.0)}
        sizes = {factor: Scaling(shape, factor) for factor in (0.8, 0.9, 1.1, 1.2)}
        found["scale"] = dict(sorted({1.0: None, **sizes}.items()))
    return found


def robustness(
    models: Mapping[str, Coded],
    train: Any,
    labels: Any,
    test: Any,
    test_labels: Any,
    *,
    image_shape: Sequence[int] | None = None,
    distorted: Mapping[str, Levels] | None = None,
    components: int = 16,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return how classes are read off codes, and data restored from them, where the data are distorted.

    A linear probe, a logistic regression (C = 1) on codes centred and divided by one number, learns from the
    codes of the training rows as they are. Then nothing learns any more: test rows are distorted, encoded,
    classified and decoded. All models see the same distorted rows. Beside them stand "raw", whose code and
    reconstruction are the row itself, and "principal components" of the training rows.

    The error to the clean row says what a code takes away of noise and fills in of what is missing; that to
    the row as it was seen says how well the decoder knows such rows. The two agree on undistorted rows.

    Args:
        models: trained, by name, each with ``encode`` and ``decode``.
        train, test: flat rows of one size, shapes (n, d) and (m, d).
        labels, test_labels: classes, whole numbers, shapes (n,) and (m,).
        image_shape: (H, W) or (C, H, W) of flat pictures, for :func:`distortions` of them.
        distorted: one's own in their place: by name and level, functions of rows, None for none.
        components: principal components.
        seed, generator: of the noise, one at most; seed 0 where not given.

    Returns:
        a row for each distortion, level and model: ``distortion``, ``level``, ``codes``, ``accuracy``,
        ``change`` of it to the undistorted rows, ``to_clean`` and ``to_seen``, the mean squared errors of the
        reconstruction per row; each but the first three with its ``_stderr`` over test rows, paired for
        ``change``.

    Raises:
        ValueError: for rows and labels that do not fit, and what a distortion makes of rows that is no longer
            finite or of their shape.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(6, 2)), nets.NormalHead(nets.MLP(2, 6)))
    >>> x, y = torch.rand(40, 6), torch.arange(40) % 2
    >>> found = robustness({"vae": vae}, x, y, x, y, components=2)
    >>> found.distortion.unique().tolist(), found.codes.unique().tolist(), len(found)
    (['noise', 'missing'], ['raw', 'principal components', 'vae'], 24)
    """

    import pandas as pd

    train, test = _rows(train, "train"), _rows(test, "test")
    if train.shape[1:] != test.shape[1:]:
        shapes = f"{tuple(train.shape)} and {tuple(test.shape)}"
        raise ValueError(f"train and test should be alike but are {shapes}")
    y, y_test = labels_of(labels, "labels", len(train)), labels_of(test_labels, "test_labels", len(test))
    if len(np.unique(y)) < 2:
        raise ValueError("labels should be of at least 2 classes but are of 1")
    ways = _ways(models, train, check_count("components", components))
    probes = {name: _probe(encode(train), y, name) for name, (encode, _) in ways.items()}
    levels = distortions(image_shape) if distorted is None else distorted
    seed = seed_of(seed, generator, default=0)

    def judged(seen: Tensor) -> dict[str, tuple[Array, Array, Array]]:
        """Return of each code what is right, and the errors to the clean rows and to those seen."""
        found = {}
        for name, (encode, decode) in ways.items():
            right = probes[name](encode(seen)) == y_test
            restored = decode(seen).double()
            errors = (_array((restored - rows).square().sum(1)) for rows in (test, seen))
            found[name] = (right.astype(float), *errors)
        return found

    clean = judged(test)
    table: list[dict[str, Any]] = []
    for distortion, own in levels.items():
        for level, distort in own.items():
            with seeded(seed):
                seen = test if distort is None else _checked(distort(test), test, distortion, level)
            for name, (right, to_clean, to_seen) in (clean if distort is None else judged(seen)).items():
                row = {"distortion": distortion, "level": level, "codes": name}
                row |= _mean("accuracy", right) | _mean("change", right - clean[name][0])
                table.append(row | _mean("to_clean", to_clean) | _mean("to_seen", to_seen))
    return pd.DataFrame(table)


Way = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""What gives the codes of rows, and what restores rows from theirs."""


def _ways(models: Mapping[str, Coded], train: Tensor, components: int) -> dict[str, Way]:
    centre, axes = (part.to(train) for part in principal_axes(train.double(), components))

    def of(model: Coded) -> Way:
        return lambda x: encoded(model, x), lambda x: reconstructed(model, x)

    ways: dict[str, Way] = {
        "raw": (lambda x: x, lambda x: x),
        "principal components": (
            lambda x: (x - centre) @ axes,
            lambda x: centre + (x - centre) @ axes @ axes.T,
        ),
    }
    for name, model in models.items():
        if name in ways:
            raise ValueError(f"models should have names of their own, but {name!r} is a row beside them")
        ways[name] = of(model)
    return ways


def _probe(codes: Tensor, y: Array, name: str) -> Callable[[Tensor], Array]:
    """Return a classifier of codes that has learned from some."""
    from sklearn.linear_model import LogisticRegression

    z = codes_of(codes, f"codes of {name!r}")
    centre, scale = z.mean(0), math.sqrt(z.var(0).mean())
    if scale == 0:
        raise ValueError(f"codes of {name!r} should vary but are all the same")
    model = LogisticRegression(max_iter=2000).fit((z - centre) / scale, y)
    return lambda new: model.predict((codes_of(new, f"codes of {name!r}") - centre) / scale)


def _rows(values: Any, name: str) -> Tensor:
    found = tensor_of(values, name)
    rows = isinstance(found, Tensor) and found.dim() == 2 and found.numel() > 0
    if not rows or not found.is_floating_point():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{name} should be flat rows of real numbers, shape (n, d), but is {shape}")
    if found.layout is not torch.strided:
        raise ValueError(f"{name} should be dense but is {found.layout}: take .to_dense() of it")
    if not found.isfinite().all():
        raise ValueError(f"{name} should be finite but holds NaN or infinity")
    return found


def _checked(seen: Tensor, test: Tensor, distortion: str, level: float) -> Tensor:
    if seen.shape != test.shape or not seen.isfinite().all():
        raise ValueError(
            f"distortion {distortion!r} at {level} should give finite rows of shape {tuple(test.shape)} but "
            f"gives {tuple(seen.shape)}" + ("" if seen.isfinite().all() else ", some not finite")
        )
    return seen


def _array(values: Tensor) -> Array:
    return values.detach().cpu().numpy()


def _mean(name: str, values: Array) -> dict[str, float]:
    stderr = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else np.nan
    return {name: float(values.mean()), f"{name}_stderr": float(stderr)}
