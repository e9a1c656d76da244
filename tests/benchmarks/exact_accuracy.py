"""The gallery's laws from their density alone: quantiles against exact ones, beside SciPy's samplers."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.stats.sampling as unuran
import torch
from torch import Tensor

from probgen.sampling import InverseCDF, TransformedDensityRejection
from tests.gallery import GALLERY, Law, errors
from tests.laws import dkw_distance, dkw_radius

PROMISE = 1e-10
SILENT = 1e-8  # a u-error above it is a silent error where 1e-10 was asked for and nothing was said
DRAWS = 2**21
TESTED = 10**5  # draws of a rejection sampler, held against the law at the false-alarm rate 1e-6
REFUSED_BY = (unuran.UNURANError, ValueError, ArithmeticError, RuntimeError)


class Judged(NamedTuple):
    """What came of one method on one law; NaN where it was not measured."""

    verdict: str
    u_error: float = math.nan
    x_error: float = math.nan
    set_up: float = math.nan  # s
    draw: float = math.nan  # s


ENDLESS = 300_000  # values of the density, at which the set-up of a peer is stopped
REFUSED = Judged("refused")


def levels() -> np.ndarray:
    """Return signed tail probabilities z, down to 2⁻³³ from both ends, such that u = 1 + z is exact."""
    tail = np.round(2.0 ** (40 - np.arange(2, 67) / 2)) / 2.0**40
    middle = np.arange(1, 128) / 256
    return np.concatenate([tail, middle, -middle, -tail])


LEVELS = levels()
UNIFORMS = np.where(LEVELS > 0, LEVELS, 1 + LEVELS)


class Scalar:
    """A law as SciPy's samplers take it: scalar functions and the seconds spent in them, domain, centre."""

    def __init__(self, law: Law, log_normaliser: float) -> None:
        self.law, self._log_normaliser = law, log_normaliser
        self.seconds, self.calls = 0.0, 0
        self.low = float(getattr(law.support, "lower_bound", -math.inf))
        self.high = float(getattr(law.support, "upper_bound", math.inf))
        self.centre = self._median()

    def density(self, x: Tensor) -> Tensor:
        inside = (x >= self.low) & (x <= self.high)
        height = self.law.log_prob(torch.where(inside, x, self.centre)) - self._log_normaliser
        return torch.where(inside, height.exp(), 0.0)

    def pdf(self, x: float) -> float:
        return self._timed(lambda: float(self.density(torch.tensor(x, dtype=torch.float64))))

    def dpdf(self, x: float) -> float:
        def slope() -> float:
            place = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            return float(torch.autograd.grad(self.density(place), place)[0])

        return self._timed(slope)

    def cdf(self, x: float) -> float:
        return self._timed(lambda: self._cdf(x))

    def _timed(self, value: Callable[[], float]) -> float:
        self.calls += 1
        if self.calls > ENDLESS:
            raise TimeoutError(f"{ENDLESS} values of the density")
        start = time.process_time()
        found = value()
        self.seconds += time.process_time() - start
        return found

    def _cdf(self, x: float) -> float:
        return float(self.law.cdf(np.array([x]))[0])

    def _median(self) -> float:
        low, high = max(self.low, -1e7), min(self.high, 1e7)
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if self._cdf(middle) >= 0.5 else (middle, high)
        return high


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor's time for a call, all threads together, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def judged(
    law: Law, x: np.ndarray, scalar: Scalar, set_up: float, draw: Callable[[], Any], *, said: bool
) -> Judged:
    """Hold quantiles at LEVELS against the law's; time the draws, the best of three."""
    with torch.no_grad():
        density = scalar.density(torch.from_numpy(x)).numpy()
    u_error, x_error = errors(law, density, LEVELS, x)
    verdict = "" if u_error <= SILENT else "warns" if said else "wrong"
    return Judged(verdict, u_error, x_error, set_up, min(seconds(draw)[0] for _ in range(3)) / DRAWS)


def ours(law: Law) -> tuple[Judged, float]:
    """Return what came of InverseCDF, the time of its table included in the set-up, and log ∫ p."""
    try:
        built, found = seconds(
            lambda: InverseCDF(
                log_prob=law.log_prob, support=law.support, points=law.points, dtype=torch.float64
            )
        )
    except ValueError:
        return REFUSED, 0.0
    report = found.report()
    log_normaliser = float(report.log_normaliser)
    x = found.icdf(torch.from_numpy(UNIFORMS)).numpy()
    first, later = (seconds(lambda: found.sample((DRAWS,)))[0] for _ in range(2))
    scalar = Scalar(law, log_normaliser)
    set_up = built + max(first - later, 0.0)
    said = report.u_error > SILENT
    return judged(law, x, scalar, set_up, lambda: found.sample((DRAWS,)), said=said), log_normaliser


def inverse_by_scipy(method: Callable[..., Any], law: Law, log_normaliser: float, **options: Any) -> Judged:
    """Return what came of one of SciPy's inverses; the time inside its calls of the density is left out."""
    scalar = Scalar(law, log_normaliser)
    domain = (scalar.low, scalar.high)
    if "center" in options:
        options["center"] = scalar.centre
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            taken, found = seconds(lambda: method(scalar, domain=domain, u_resolution=PROMISE, **options))
        except TimeoutError:
            return Judged("endless")
        except REFUSED_BY:
            return REFUSED
        x = found.ppf(UNIFORMS)
    taken -= scalar.seconds
    return judged(law, x, scalar, taken, lambda: found.rvs(DRAWS), said=bool(said))


def rejection(build: Callable[[Scalar], Callable[[int], Any]], law: Law, log_normaliser: float) -> Judged:
    """Return what came of a rejection sampler: whether its draws have the law."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            draws = build(Scalar(law, log_normaliser))(TESTED)
        except TimeoutError:
            return Judged("endless")
        except REFUSED_BY:
            return REFUSED
    distance = dkw_distance(torch.as_tensor(draws), lambda x: torch.as_tensor(np.asarray(law.cdf(x.numpy()))))
    return Judged("fits" if distance <= dkw_radius(TESTED) else "warns" if said else "wrong")


METHODS = ("ours", "PINV", "Hermite", "TDR, ours", "TDR, SciPy")


def law_by_law(law: Law) -> dict[str, Judged]:
    """Judge all methods on a law."""
    found, log_normaliser = ours(law)
    inverse = partial(inverse_by_scipy, law=law, log_normaliser=log_normaliser)

    def theirs(scalar: Scalar) -> Callable[[int], Any]:
        domain = (scalar.low, scalar.high)
        return unuran.TransformedDensityRejection(
            scalar, center=scalar.centre, domain=domain, random_state=1
        ).rvs

    def hat(scalar: Scalar) -> Callable[[int], Any]:
        law = TransformedDensityRejection(
            scalar.law.log_prob, support=scalar.law.support, points=scalar.law.points, dtype=torch.float64
        )
        return lambda n: law.sample((n,))

    return {
        "ours": found,
        "PINV": inverse(unuran.NumericalInversePolynomial, center=True),
        "Hermite": inverse(unuran.NumericalInverseHermite),
        "TDR, ours": rejection(hat, law, log_normaliser),
        "TDR, SciPy": rejection(theirs, law, log_normaliser),
    }


def written(judged: Judged, *fields: str) -> list[str]:
    """Return a method's cells of a row: its verdict where it has no numbers, else these, marked if wrong."""
    if math.isnan(judged.u_error):
        return [judged.verdict] + ["–"] * (len(fields) - 1)
    mark = f" **{judged.verdict}**" if judged.verdict else ""
    values = {"u": f"{judged.u_error:.0e}{mark}", "x": f"{min(judged.x_error, 1):.0e}"}
    values |= {"ms": f"{judged.set_up * 1e3:.3g}", "ns": f"{judged.draw * 1e9:.3g}"}
    return [values[field] for field in fields]


def table(names: Sequence[str] = tuple(GALLERY)) -> str:
    """Return the gallery's tables and what they add up to."""
    found = {}
    for name in names:
        found[name] = law_by_law(GALLERY[name])
        print(
            name,
            *(" ".join(written(j, "u", "x", "ms", "ns")) for j in found[name].values()),
            sep=" | ",
            flush=True,
        )
    head = "| law | u-error | x-error | PINV, u | x | Hermite, u | x | TDR, ours | TDR, SciPy |"
    rows = [head, "|---" * 9 + "|"]
    costs = [
        "| law | set-up, CPU ms | CPU ns per draw | PINV, ms | ns | Hermite, ms | ns |",
        "|---" * 7 + "|",
    ]
    for name, row in found.items():
        inverses = [row[method] for method in METHODS[:3]]
        cells = [cell for judged in inverses for cell in written(judged, "u", "x")]
        rows.append(
            "| " + " | ".join([name, *cells, *(row[method].verdict for method in METHODS[3:])]) + " |"
        )
        cells = [cell for judged in inverses for cell in written(judged, "ms", "ns")]
        costs.append("| " + " | ".join([name, *cells]) + " |")
    counts = ["| | at most 1e-10 | refused | silently wrong |", "|---" * 4 + "|"]
    for method in METHODS:
        verdicts = [row[method].verdict for row in found.values()]
        right = sum(row[method].u_error <= PROMISE or row[method].verdict == "fits" for row in found.values())
        refused, wrong = (verdicts.count(name) for name in ("refused", "wrong"))
        counts.append(f"| {method} | {right} of {len(found)} | {refused} | {wrong} |")
    return "\n\n".join("\n".join(part) for part in (counts, rows, costs))
