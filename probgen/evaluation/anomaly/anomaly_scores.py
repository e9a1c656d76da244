"""Scores of anomaly: by the data alone, by codes and reconstructions, by likelihoods."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from probgen.core import Coded, Pair, check_count, seed_of, tensor_of, weights_dtype
from probgen.data import source
from probgen.evaluation.anomaly.compression import compressed_bits
from probgen.evaluation.anomaly.distances import (
    isolation,
    mahalanobis_distance,
    neighbour_distance,
    principal_residual,
)
from probgen.evaluation.anomaly.regret import likelihood_regret
from probgen.evaluation.codes.encoded import encoded, reconstructed
from probgen.evaluation.likelihood.annealed import in_evaluation
from probgen.evaluation.likelihood.importance import (
    batches_in_order,
    check_pair,
    log_likelihoods,
    weighted_draws,
)
from probgen.objectives.particles import forget

if TYPE_CHECKING:
    import pandas as pd

REGRET = "likelihood regret"


def anomaly_scores(
    model: Coded | Pair | None,
    x: Any,
    *,
    train: Any,
    scores: Sequence[str] | None = None,
    background: Pair | None = None,
    levels: int | None = None,
    particles: int = 100,
    neighbours: int = 5,
    components: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return scores of each row of x, a column each, the higher the more anomalous.

    Of the data alone, also where the model is None, by Euclidean distances in the units of the data:

    - "neighbours": the distance to the k-th nearest training row.
    - "isolation forest": how soon random splits part a row from the others.
    - "principal components": the distance to the plane of the first principal components.

    Of a model with codes (``Coded``):

    - "reconstruction": the squared error ‖x − E[x | z]‖², z the mean code of x.
    - "codes": the Mahalanobis distance of the mean code to those of the training rows, their covariance
      shrunk; "code neighbours": its distance to the k-th nearest of them.

    Of a model/guide pair (``Pair``), in nats:

    - "negative ELBO": −E_q[log p(x, z) − log q(z | x)].
    - "negative log-likelihood": −log p(x) by importance sampling.
    - "typicality": |−log p(x) − H|, H the mean of −log p over training rows. Data may be too likely, too.
    - "input complexity", given ``levels``: −log p(x) less the nats of a lossless compressor.
    - "likelihood ratio", given a ``background``: log p_background(x) − log p(x).
    - "likelihood regret": see :func:`likelihood_regret`.

    A likelihood alone takes simple data for normal, whatever they show: pictures of one grey, the digit 1. So
    read no score without :func:`detection` for each kind of anomaly, and "neighbours" beside it. Several
    columns of a table should be brought to one unit before.

    Args:
        model: trained, or None; one without a context. It is run in evaluation mode.
        x: shape (n, \*event).
        train: rows, normal ones, that the model has learned from; some thousands are enough.
        scores: names from these lists; all that model and arguments allow where not given, but the regret,
            which takes some hundred gradients of each row.
        background: a pair that has learned what all data share, as from noisy ones.
        levels: grey levels of x.
        particles: draws of z for each row.
        neighbours: k.
        components: principal components; half the coordinates, at most 32, where not given.
        seed, generator: one at most; seed 0 where not given.

    Raises:
        ValueError: for scores that model and arguments do not allow, and what the likelihood refuses, such
            as a guide that is a point.

    Source: An and Cho (2015) for reconstructions; Nalisnick, Matsukawa, Teh and Lakshminarayanan (2019) for
    typicality; Serrà and others (2020), Input complexity and out-of-distribution detection; Ren and others
    (2019), Likelihood ratios for out-of-distribution detection; Liu, Ting and Zhou (2008) for the forest;
    Ledoit and Wolf (2004) for the covariance.

    >>> train, x = torch.randn(100, 3), torch.zeros(2, 3)
    >>> anomaly_scores(None, x, train=train, scores=["neighbours"]).columns.tolist()
    ['neighbours']
    """

    import pandas as pd

    dtype = weights_dtype(model) if isinstance(model, torch.nn.Module) else None
    x, train = (tensor_of(part, name, dtype=dtype) for part, name in ((x, "x"), (train, "train")))
    _check_rows(x, train)
    x, train = x.detach(), train.detach()
    if model is not None and not isinstance(model, Coded | Pair):
        raise TypeError(
            f"model should be a Pair, have encode and decode, or be None but is a {type(model).__name__}"
        )
    seed = seed_of(seed, generator, default=0)
    flat, flat_train = (part.flatten(1).double() for part in (x, train))
    width = min(32, max(1, flat.shape[1] // 2)) if components is None else components
    ways: dict[str, Callable[[], Tensor]] = {
        "neighbours": lambda: neighbour_distance(flat_train, flat, neighbours),
        "isolation forest": lambda: isolation(flat_train, flat, seed),
        "principal components": lambda: principal_residual(flat_train, flat, width),
    }
    if isinstance(model, Coded):
        codes = functools.cache(lambda: (encoded(model, train).double(), encoded(model, x).double()))
        ways["reconstruction"] = lambda: _squared_error(reconstructed(model, x), x)
        ways["codes"] = lambda: mahalanobis_distance(*codes())
        ways["code neighbours"] = lambda: neighbour_distance(*codes(), neighbours)
    if isinstance(model, Pair):
        nats = functools.cache(
            lambda rows: -log_likelihoods(model, rows, particles=particles, seed=seed).double()
        )
        ways["negative ELBO"] = lambda: negative_elbo(model, x, particles=particles, seed=seed)
        ways["negative log-likelihood"] = lambda: nats(x)
        ways["typicality"] = lambda: (nats(x) - nats(train).mean()).abs()
        if levels is not None:
            bits = math.log(2)
            ways["input complexity"] = lambda: nats(x) - bits * compressed_bits(x, levels=levels).to(x.device)
        if background is not None:
            ways["likelihood ratio"] = lambda: (
                nats(x) + log_likelihoods(background, x, particles=particles, seed=seed).double()
            )
        ways[REGRET] = lambda: likelihood_regret(model, x, seed=seed)
    chosen = [name for name in ways if name != REGRET] if scores is None else list(scores)
    for name in chosen:
        if name not in ways:
            raise ValueError(
                f"scores should be of {', '.join(ways)}, which this model and these arguments allow, but "
                f"{name!r} is not: some need a Pair, background= or levels="
            )
    return pd.DataFrame({name: ways[name]().cpu().numpy() for name in chosen})


@torch.no_grad()
def negative_elbo(pair: Pair, x: Tensor, *, particles: int, seed: int) -> Tensor:
    """Return −E_q[log p(x, z) − log q(z | x)] of each row in nats, shape (n,)."""
    check_pair(pair)
    particles = check_count("particles", particles)
    data = source(x, name="x", dtype=weights_dtype(pair))
    forget(pair)  # its weights may be others by now
    parts = []
    with in_evaluation(pair, seed):
        for batch in batches_in_order(pair, data, particles):
            _, log_p, log_q = weighted_draws(pair, batch, particles)
            parts.append((log_q - log_p).double().mean(0))
    return torch.cat(parts)


def _squared_error(decoded: Tensor, x: Tensor) -> Tensor:
    if decoded.shape != x.shape:
        shapes = f"{tuple(x.shape)}, but have {tuple(decoded.shape)}"
        raise ValueError(f"the decoder's means should have the shape of x, {shapes}")
    return (decoded.double() - x).square().flatten(1).sum(1)


def _check_rows(x: Tensor, train: Tensor) -> None:
    for name, part in (("x", x), ("train", train)):
        if not isinstance(part, Tensor) or part.dim() < 2 or not part.numel():
            shape = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(f"{name} should be rows, shape (n, *event), at least one, but is {shape}")
        if part.is_complex() or part.layout is not torch.strided:
            what = part.dtype if part.is_complex() else part.layout
            raise ValueError(f"{name} should be dense and of real numbers but is {what}")
        if not part.isfinite().all():
            raise ValueError(f"{name} should be finite but holds NaN or infinity")
    if x.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"x and train should have rows of one shape but have {tuple(x.shape[1:])} and "
            f"{tuple(train.shape[1:])}"
        )
