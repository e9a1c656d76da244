"""Exact samplers beside their peers: ``python -m tests.benchmarks.exact_sampling [--only PART ...] [--dry]``.

Parts: accuracy (the gallery of laws, against SciPy's PINV, Hermite interpolation and TDR), speed (draws by
inversion), set-up (of a law from its density), batch (a thousand Gamma laws), rejection, discrete, quantiles
(those torch lacks), gradients, and device (on the GPU if there is one). Each appends a section to RESULTS.md.
"""

import argparse
from collections.abc import Callable

import torch

from tests.benchmarks import exact_accuracy, exact_gradients, exact_speed
from tests.benchmarks.results import record

RACE = (
    f"Float64, the best of {exact_speed.ROUNDS} rounds in which the contenders take turns, of the time "
    "and of the processor's time, all threads together. Set-up is the best of three times of set-up and a "
    "first call, less that of a later call. SciPy draws on one thread."
)


def raced(rows: list[str]) -> str:
    return "\n".join([exact_speed.HEAD, *rows])


def on_device(draws: int, _: list[int]) -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    head = f"| on {device.type} | M draws/s | share of what memory can write |\n" + "|---" * 3 + "|"
    return "\n".join([head, *exact_speed.on_device(draws, device)])


PARTS: dict[str, tuple[str, str, Callable[[int, list[int]], str]]] = {
    "accuracy": (
        "quantiles of the gallery",
        f"Quantiles at {len(exact_accuracy.LEVELS)} tail probabilities, down to 2⁻³³ from both ends, against "
        "exact tails. A u-error counts from the float64 numbers beside x; an x-error is that of u over the "
        "density, relative to the distance from the median, in the outer 1 %. Every method is asked for a "
        "u-error of 1e-10; *wrong* is one above 1e-8 of which the method says nothing. SciPy's methods are "
        "given the support and the exact median as centre, and Hermite the CDF, which ours is not; the time "
        "inside these callbacks is left out of their set-up; *endless* is one that calls them more than "
        f"{exact_accuracy.ENDLESS:,} times. Ours includes the look-up table, and draws are "
        f"timed on {exact_accuracy.DRAWS:,}. Rejection: {exact_accuracy.TESTED:,} draws, a test at the "
        "false-alarm rate 1e-6.",
        lambda draws, sizes: exact_accuracy.table(),
    ),
    "speed": (
        "draws by inversion",
        "{draws:,} draws a call, from the density alone, u-error at most 1e-10. " + RACE,
        lambda draws, sizes: raced(exact_speed.inversion(draws)),
    ),
    "set-up": (
        "set-up from a log-density",
        "Time of the processor until a law is found from its density alone and verified: the median of "
        f"{2 * exact_speed.ROUNDS + 1}, the two in turn; the u-error asked of PINV is 1e-10, and its centre "
        "is given. Most values of log_prob are those of the second look, for what the panels overlooked.",
        lambda draws, sizes: "\n".join([exact_speed.SET_UP_HEAD, *exact_speed.set_up()]),
    ),
    "batch": (
        "a thousand laws",
        "{draws:,} draws a call in all, a hundredth of it by InverseCDF. " + RACE,
        lambda draws, sizes: raced(exact_speed.many_laws(1000, draws // 1000)),
    ),
    "rejection": (
        "draws by rejection",
        "{draws:,} draws a call, a tenth or a hundredth of it for the slow ones. " + RACE,
        lambda draws, sizes: raced(exact_speed.rejection(draws)),
    ),
    "discrete": (
        "discrete draws",
        "{draws:,} draws a call, a tenth of it for the slow ones. " + RACE,
        lambda draws, sizes: raced(exact_speed.discrete(draws, sizes)),
    ),
    "quantiles": (
        "quantiles that torch lacks",
        "A hundredth of {draws:,} quantiles a call; of those of von Mises by SciPy, which take it more than "
        "a millisecond each, a thousandth of that. " + RACE,
        lambda draws, sizes: raced(exact_speed.ready_quantiles(draws // 100)),
    ),
    "gradients": (
        "gradients of exact draws",
        "Largest error of dx/dθ at 41 quantiles from 1e-6 to 1 − 1e-6, and of ∂ log p/∂θ there, relative "
        "to the derivative plus its median size; float64.",
        lambda draws, sizes: exact_gradients.table(),
    ),
    "device": (
        "draws on the device",
        "{draws:,} float64 draws a call; memory writes one number a draw at best. " + RACE,
        on_device,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--draws", type=int, default=10**7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 100_000, 1_000_000, 2**24 + 3])
    parser.add_argument("--dry", action="store_true", help="print and do not append to RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.only:
        title, protocol, run = PARTS[name]
        body = run(options.draws, options.sizes)
        if options.dry:
            print(body)
            continue
        started = f"`python -m tests.benchmarks.exact_sampling --only {name}`: "
        record(
            f"exact sampling: {title}",
            started + protocol.format(draws=options.draws),
            body,
            packages=("scipy", "numpy"),
        )


if __name__ == "__main__":
    main()
