"""Draws per second of exact samplers beside SciPy's, torch's and NumPy's.

The contenders draw in turn within each round; the best round counts, since whatever else the machine does
only adds time. It adds less to the time of the processor, all threads together, which is given beside.
"""

import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import scipy.stats
import scipy.stats.sampling as unuran
import torch
from torch.distributions import constraints

from probgen.sampling import (
    AdaptiveRejection,
    Beta,
    Chi2,
    DiscreteInverse,
    Empirical,
    Gamma,
    InverseCDF,
    RatioOfUniforms,
    StudentT,
    TransformedDensityRejection,
    VonMises,
)

Draw = Callable[[int], object]
ROUNDS = 7
HEAD = (
    "| law | drawn by | set-up, CPU ms | ns per draw | CPU ns per draw | M draws/s | time against the first "
    "| CPU time |\n" + "|---" * 8 + "|"
)


class Density:
    """A density as SciPy takes it: scalar functions, and the integral where a method asks for it."""

    def __init__(self, log_pdf: Callable[[float], float], slope: Callable[[float], float]) -> None:
        self.log_pdf, self.slope = log_pdf, slope

    def pdf(self, x: float) -> float:
        return math.exp(self.log_pdf(x))

    def dpdf(self, x: float) -> float:
        return self.slope(x) * self.pdf(x)


LAWS = {
    "normal": (
        lambda x: -(x**2) / 2,
        constraints.real,
        Density(lambda x: -x * x / 2, lambda x: -x),
        {"mode": 0.0, "pdf_area": math.sqrt(2 * math.pi), "domain": (-math.inf, math.inf)},
        scipy.stats.norm(),
    ),
    "Gamma(2.5)": (
        lambda x: 1.5 * x.log() - x,
        constraints.positive,
        Density(
            lambda x: 1.5 * math.log(x) - x if x > 0 else -math.inf, lambda x: 1.5 / x - 1 if x > 0 else 0.0
        ),
        {"mode": 1.5, "pdf_area": math.gamma(2.5), "domain": (0.0, math.inf)},
        scipy.stats.gamma(2.5),
    ),
    "Cauchy": (
        lambda x: -torch.log1p(x**2),
        constraints.real,
        Density(lambda x: -math.log1p(x * x), lambda x: -2 * x / (1 + x * x)),
        {"mode": 0.0, "pdf_area": math.pi, "domain": (-math.inf, math.inf)},
        scipy.stats.cauchy(),
    ),
}


def timed(draw: Draw, n: int) -> np.ndarray:
    """Return the time that n draws take, and the processor's time, in seconds."""
    start = time.perf_counter(), time.process_time()
    draw(n)
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def started(build: Callable[[], Draw], n: int) -> tuple[float, Draw]:
    """Return the processor's time for set-up and a first call, the best of three, in s, and what draws."""
    times = []
    for _ in range(3):
        start = time.process_time()
        draw = build()
        draw(n)
        times.append(time.process_time() - start)
    return min(times), draw


def race(contenders: dict[str, tuple[Callable[[], Draw], int]], law: str) -> list[str]:
    """Let the contenders draw in turn; return a row of the table for each."""
    ready = {name: (*started(build, n), n) for name, (build, n) in contenders.items()}
    best = {name: np.full(2, math.inf) for name in ready}
    for _ in range(ROUNDS):
        for name, (_, draw, n) in ready.items():
            best[name] = np.minimum(best[name], timed(draw, n) / n)
    first = next(iter(best.values()))
    rows = []
    for name, seconds in best.items():
        begun, _, n = ready[name]
        set_up = max(0.0, begun - n * seconds[1]) * 1e3
        rows.append(
            f"| {law} | {name} | {set_up:.3g} | {seconds[0] * 1e9:.3g} | {seconds[1] * 1e9:.3g} "
            f"| {1e-6 / seconds[0]:.3g} | {seconds[0] / first[0]:.2f} | {seconds[1] / first[1]:.2f} |"
        )
    return rows


def sampler(build: Callable[[], object]) -> Callable[[], Draw]:
    """Return what sets up a torch law and draws from it."""

    def set_up() -> Draw:
        law = build()
        return lambda n: law.sample((n,))

    return set_up


def inversion(draws: int) -> list[str]:
    """Inverse CDFs from the density alone; SciPy's Hermite interpolation is given the CDF as well."""
    rows = []
    for name, (log_prob, support, density, known, exact) in LAWS.items():
        options = {"domain": known["domain"], "u_resolution": 1e-10, "random_state": 1}
        contenders: dict[str, tuple[Callable[[], Draw], int]] = {
            "InverseCDF": (
                sampler(partial(InverseCDF, log_prob=log_prob, support=support, dtype=torch.float64)),
                draws,
            ),
            "SciPy PINV": (
                lambda d=density, o=options, m=known["mode"]: (
                    unuran.NumericalInversePolynomial(d, center=m, **o).rvs
                ),
                draws,
            ),
            "SciPy Hermite": (
                lambda c=exact, o=options: unuran.NumericalInverseHermite(c, **o).rvs,
                draws,
            ),
        }
        rows += race(contenders, name)
    return rows


def rejection(draws: int) -> list[str]:
    rows = []
    for name, (log_prob, support, density, known, _) in LAWS.items():
        ours = partial(partial, log_prob=log_prob, support=support, dtype=torch.float64)
        theirs = {"domain": known["domain"], "random_state": 1}
        contenders: dict[str, tuple[Callable[[], Draw], int]] = {
            "TransformedDensityRejection": (sampler(ours(TransformedDensityRejection)), draws),
            "SciPy TransformedDensityRejection": (
                lambda d=density, t=theirs: unuran.TransformedDensityRejection(d, **t).rvs,
                draws,
            ),
            "RatioOfUniforms": (sampler(ours(RatioOfUniforms)), draws // 10),
            "SciPy SimpleRatioUniforms": (
                lambda d=density, k=known: unuran.SimpleRatioUniforms(d, **k, random_state=1).rvs,
                draws // 100,
            ),
        }
        if name != "Cauchy":
            contenders["AdaptiveRejection"] = (sampler(ours(AdaptiveRejection)), draws // 10)
        rows += race(contenders, name)
    return rows


def by_search(probs: torch.Tensor) -> Draw:
    law = DiscreteInverse(probs)
    return lambda n: law.icdf(torch.rand(n, dtype=torch.float64))


def discrete(draws: int, sizes: list[int]) -> list[str]:
    rows = []
    for k in sizes:
        probs = torch.rand(k, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4 + 1e-9
        vector = (probs / probs.sum()).numpy()
        contenders = {
            "DiscreteInverse.sample": (sampler(partial(DiscreteInverse, probs)), draws),
            "DiscreteInverse.icdf": (partial(by_search, probs), draws // 10),
        }
        if k < 2**24:
            contenders |= {
                "torch.multinomial": (
                    lambda p=probs: partial(torch.multinomial, p, replacement=True),
                    draws // 10,
                ),
                "SciPy alias": (lambda v=vector: unuran.DiscreteAliasUrn(v, random_state=1).rvs, draws),
                "SciPy guide table": (
                    lambda v=vector: unuran.DiscreteGuideTable(v, random_state=1).rvs,
                    draws,
                ),
            }
        rows += race(contenders, f"{k:,} categories")
    values = torch.randn(1000, dtype=torch.float64)
    random = np.random.default_rng(1)
    contenders = {
        "Empirical": (sampler(partial(Empirical, values)), draws),
        "NumPy choice": (lambda: partial(random.choice, values.numpy()), draws),
    }
    return rows + race(contenders, "1,000 values")


def many_laws(count: int, each: int) -> list[str]:
    """Draw from a thousand Gamma laws, set up at once; SciPy's are set up and drawn from one by one."""
    shapes = torch.linspace(1, 100, count, dtype=torch.float64)

    def at_once(kind: Callable[..., torch.distributions.Distribution]) -> Draw:
        law = kind(log_prob=lambda x: (shapes - 1) * x.log() - x, support=constraints.positive)
        return lambda n: law.sample((n // count,))

    def one_by_one(kind: Callable[..., object]) -> Draw:
        built = []
        for shape in shapes.tolist():
            density = Density(
                lambda x, a=shape: (a - 1) * math.log(x) - x - math.lgamma(a) if x > 0 else -math.inf,
                lambda x, a=shape: (a - 1) / x - 1 if x > 0 else 0.0,
            )
            built.append(
                kind(density, domain=(0.0, math.inf), center=max(shape - 1, 0.1), random_state=1).rvs
            )
        return lambda n: [draw(n // count) for draw in built]

    contenders = {
        "InverseCDF": (partial(at_once, InverseCDF), count * each // 100),
        "SciPy PINV, one by one": (partial(one_by_one, unuran.NumericalInversePolynomial), count * each),
        "TransformedDensityRejection": (partial(at_once, TransformedDensityRejection), count * each),
        "SciPy TDR, one by one": (partial(one_by_one, unuran.TransformedDensityRejection), count * each),
    }
    return race(contenders, f"{count:,} Gamma laws")


QUANTILES = {
    "Gamma(2.5)": (partial(Gamma, concentration=2.5, rate=1.0), scipy.stats.gamma(2.5)),
    "Chi2(3)": (partial(Chi2, df=3.0), scipy.stats.chi2(3)),
    "Beta(2, 5)": (partial(Beta, concentration1=2.0, concentration0=5.0), scipy.stats.beta(2, 5)),
    "StudentT(4)": (partial(StudentT, df=4.0), scipy.stats.t(4)),
    "VonMises(0, 4)": (partial(VonMises, loc=0.0, concentration=4.0), scipy.stats.vonmises(4)),
}


def ready_quantiles(draws: int) -> list[str]:
    """Quantiles of laws that torch has without them, in float64, at as many different uniforms."""
    u = torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = []
    for name, (build, exact) in QUANTILES.items():
        law = build(
            **{key: torch.tensor(value, dtype=torch.float64) for key, value in build.keywords.items()}
        )
        contenders = {
            "icdf": (lambda law=law: lambda n: law.icdf(u[:n]), draws),
            "SciPy ppf": (
                lambda exact=exact: lambda n: exact.ppf(u[:n].numpy()),
                draws // 1000 if name.startswith("VonMises") else draws,  # a millisecond each
            ),
        }
        rows += race(contenders, name)
    return rows


MIXED = [(0.3, -3.0, 0.5), (0.5, 0.0, 1.0), (0.2, 4.0, 1.5)]  # weight, mean, standard deviation


def mixed(x: torch.Tensor) -> torch.Tensor:
    terms = [math.log(w / s) - ((x - m) / s) ** 2 / 2 for w, m, s in MIXED]
    return torch.logsumexp(torch.stack(terms), 0)


def comb(x: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(torch.stack([-(((x - 10 * k) / 0.01) ** 2) / 2 for k in range(9)]), 0)


FOUND: dict[str, tuple] = {  # log-density of tensors, support, density of numbers and a centre for PINV
    "normal": (LAWS["normal"][0], constraints.real, lambda x: math.exp(-x * x / 2), 0.0),
    "Gamma(2.5)": (LAWS["Gamma(2.5)"][0], constraints.positive, lambda x: x**1.5 * math.exp(-x), 1.5),
    "Student t(3)": (
        lambda x: -2 * torch.log1p(x**2 / 3),
        constraints.real,
        lambda x: (1 + x * x / 3) ** -2,
        0.0,
    ),
    "Beta(0.5, 0.5)": (
        lambda x: -(x.log() + torch.log1p(-x)) / 2,
        constraints.unit_interval,
        lambda x: (x * (1 - x)) ** -0.5 if 0 < x < 1 else math.inf,
        0.5,
    ),
    "three normals": (
        mixed,
        constraints.real,
        lambda x: sum(w / s * math.exp(-(((x - m) / s) ** 2) / 2) for w, m, s in MIXED),
        0.0,
    ),
    "exp(-√∣x∣)": (
        lambda x: -x.abs().sqrt(),
        constraints.real,
        lambda x: math.exp(-math.sqrt(abs(x))),
        0.0,
    ),
    "nine teeth": (
        comb,
        constraints.real,
        lambda x: sum(math.exp(-(((x - 10 * k) / 0.01) ** 2) / 2) for k in range(9)),
        40.0,
    ),
}
SET_UP_HEAD = "| law | InverseCDF, ms | of it log_prob | its values | SciPy PINV, ms |\n" + "|---" * 5 + "|"


def set_up() -> list[str]:
    """Return rows of the processor's time to find a law from its density, the medians of 2 ROUNDS + 1."""
    rows = []
    for name, (log_prob, support, density, centre) in FOUND.items():
        inside, values, ours, theirs = [], [], [], []

        def watched(x: torch.Tensor, log_prob=log_prob, inside=inside, values=values) -> torch.Tensor:
            start = time.process_time()
            height = log_prob(x)
            inside.append(time.process_time() - start)
            values.append(x.numel())
            return height

        def pinv(density=density, support=support, centre=centre) -> unuran.NumericalInversePolynomial:
            ends = zip(("lower_bound", "upper_bound"), (-math.inf, math.inf), strict=True)
            domain = tuple(float(getattr(support, name, end)) for name, end in ends)
            options = {"center": centre, "domain": domain, "u_resolution": 1e-10, "random_state": 1}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # before it refuses
                return unuran.NumericalInversePolynomial(SimpleNamespace(pdf=density), **options)

        find = partial(InverseCDF, log_prob=log_prob, support=support, dtype=torch.float64)
        fault = ""
        for _ in range(2 * ROUNDS + 1):
            ours.append(timed(lambda _, find=find: find(), 1)[1])
            if not fault:
                try:
                    theirs.append(timed(lambda _, pinv=pinv: pinv(), 1)[1])
                except unuran.UNURANError:
                    fault = "refused"
        if theirs and not fault:
            u = np.linspace(0.01, 0.99, 99)
            error = np.abs(find().cdf(torch.from_numpy(pinv().ppf(u))).numpy() - u).max()
            fault = "" if error < 1e-8 else f"(u-error {error:.1g})"
        InverseCDF(log_prob=watched, support=support, dtype=torch.float64)
        of_pinv = f"{np.median(theirs) * 1e3:.3g} {fault}".strip() if theirs else fault
        found = f"{np.median(ours) * 1e3:.3g} | {sum(inside) * 1e3:.3g} | {sum(values):,}"
        rows.append(f"| {name} | {found} | {of_pinv} |")
    return rows


def on_device(draws: int, device: torch.device) -> list[str]:
    """Draws a second on a device, beside what its memory could write: one float64 a draw."""

    def seconds(call: Callable[[], object]) -> float:
        times = []
        for _ in range(ROUNDS + 1):
            synchronise(device)
            start = time.perf_counter()
            call()
            synchronise(device)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    x = torch.zeros(draws, dtype=torch.float64, device=device)
    bandwidth = draws / seconds(lambda: x.fill_(1.0))
    place = torch.zeros((), dtype=torch.float64, device=device)
    probs = torch.rand(1000, dtype=torch.float64, device=device)
    log_normal = lambda x: -((x - place) ** 2) / 2  # noqa: E731
    contenders: dict[str, Callable[[], object]] = {
        "writing float64": lambda: x.fill_(1.0),
        "torch.rand": lambda: x.uniform_(),
        "torch.randn": lambda: x.normal_(),
        "InverseCDF, normal": partial(InverseCDF(log_prob=log_normal, device=device).sample, (draws,)),
        "TransformedDensityRejection, normal": partial(
            TransformedDensityRejection(log_normal, device=device).sample, (draws,)
        ),
        "DiscreteInverse, 1,000 categories": partial(DiscreteInverse(probs).sample, (draws,)),
        "torch.multinomial, 1,000 categories": partial(torch.multinomial, probs, draws, replacement=True),
    }
    rows = []
    for name, call in contenders.items():
        rate = draws / seconds(call)
        rows.append(f"| {name} | {rate * 1e-6:.4g} | {rate / bandwidth:.3f} |")
    return rows


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
