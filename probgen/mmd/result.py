"""The outcome of a test whose null law is found by drawing: permutations, signs, a bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TestResult(NamedTuple):
    """The outcome of a test.

    Attributes:
        statistic: its value on the samples as they are.
        p_value: P(p_value ≤ α) ≤ α where the null hypothesis holds.
        null: the statistic's values under the null hypothesis, such as those under the permutations.
        smallest_p_value: that the test can return; no level below it can be reached.
        kernel_p_values: of aggregated kernels, the p-value of each, adjusted for their number.
        tested: the null hypothesis, and how it was tested, in words.
        scale: what the columns were divided by: "pooled", their standard deviations in all samples together,
            "given", or None, nothing.
    """

    statistic: float
    p_value: float
    null: Tensor
    smallest_p_value: float = 0.0
    kernel_p_values: tuple[float, ...] = ()
    scale: str | None = None
    tested: str = "the null hypothesis"

    def __str__(self) -> str:
        """Say in a sentence what was tested and what came of it, at the level 0.05.

        >>> print(TestResult(0.125, 0.01, torch.zeros(99), 0.01))
        Tested the null hypothesis: the statistic is 0.125, p = 0.01, rejected at the level 0.05.
        """
        if self.smallest_p_value > 0.05:
            verdict = f"which cannot be rejected at the level 0.05: no p is below {self.smallest_p_value:.3g}"
        else:
            verdict = f"{'' if self.rejects(0.05) else 'not '}rejected at the level 0.05"
        return (
            f"Tested {self.tested}: the statistic is {self.statistic:.4g}, p = {self.p_value:.3g}, {verdict}."
        )

    def rejects(self, level: float = 0.05) -> bool:
        """Say whether the test rejects at a level.

        Raises:
            ValueError: for a level outside (0, 1), or one that the test cannot reach.

        >>> TestResult(1.0, 0.01, torch.zeros(99), 0.01).rejects(0.001)
        Traceback (most recent call last):
        ...
        ValueError: level should be at least 0.01, the smallest p-value of this test, but got 0.001
        """
        if not 0 < level < 1:
            raise ValueError(f"level should be between 0 and 1 but got {level}")
        if level < self.smallest_p_value:
            raise ValueError(
                f"level should be at least {self.smallest_p_value:.3g}, the smallest p-value of this test, "
                f"but got {level}"
            )
        return self.p_value <= level

    def __repr__(self) -> str:
        """Show the result in a line, with how many values of the null there are."""
        unit = "" if self.scale is None else f", scale={self.scale!r}"
        each = ", ".join(f"{p:.3g}" for p in self.kernel_p_values)
        return (
            f"TestResult(statistic={self.statistic:.6g}, p_value={self.p_value:.4g}, "
            f"null=<{len(self.null)} values>, smallest_p_value={self.smallest_p_value:.3g}, "
            f"kernel_p_values=({each}){unit})"
        )


TestResult.__test__ = False  # type: ignore[attr-defined]  # pytest should not take it for a test case


def drawn_result(
    statistics: Tensor, rounding: float = 0.0, *, arrangements: float = float("inf")
) -> TestResult:
    """Return the result of a test from its statistic on the samples, first, and under B draws of the null.

    The p-value is (k + 1) / (B + 1), where k of the draws reach the statistic, to rounding. It is valid
    wherever the B + 1 values are exchangeable.

    Args:
        statistics: shape (1 + B,).
        rounding: the error of a statistic; values as near as this are tied.
        arrangements: the number of different draws that there are.

    Source: Phipson and Smyth (2010).
    """
    check_statistics(statistics)
    observed, null = statistics[0], statistics[1:]
    reached = int((null >= observed - rounding).sum())
    smallest = max(1 / len(statistics), 1 / arrangements)
    return TestResult(float(observed), (reached + 1) / len(statistics), null, smallest)


def check_statistics(statistics: Tensor) -> None:
    """Raise unless the statistics of a test are finite."""
    if not torch.isfinite(statistics).all():
        raise ValueError("kernel should return finite values but returned NaN or infinite ones")
