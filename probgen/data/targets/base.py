"""What a two-dimensional target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import check_count, source_of


@dataclass(frozen=True, eq=False)
class Target:
    r"""A versioned law on the plane with an exact sampler, its density and its conditional CDFs.

    Attributes:
        name, version, what: which law this is; a changed definition gets a new version.
        log_prob: the normalised log-density, (\*batch, 2) to (\*batch), in the dtype of its argument.
        conditional_cdfs: (F0, F1), where F0(x0) = P(X0 <= x0) and F1(x1, x0) = P(X1 <= x1 | X0 = x0).
        log_bound: log M, with log_prob(x) <= log M + log q(x) everywhere, q the proposal; a rejection
            sampler accepts with probability 1/M.
        modes: the modes' places, shape (k, 2), where the target is a mixture of separate modes.
        mode_scale: the standard deviation of each mode, in each coordinate.
    """

    name: str
    version: str
    what: str
    log_prob: Callable[[Tensor], Tensor]
    conditional_cdfs: tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]
    log_bound: float
    draw: Callable[[int, torch.Generator | None, torch.dtype, torch.device], Tensor]
    propose: Callable[[torch.dtype, torch.device], Distribution]
    modes: Tensor | None = None
    mode_scale: float | None = None

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.what})"

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw n exact, independent points, shape (n, 2); torch's defaults where dtype, device are None."""
        n = check_count("n", n)
        where = _where(dtype, device)
        return self.draw(n, generator if seed is None else source_of(generator, seed, where[1]), *where)

    def proposal(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Distribution:
        """Return the proposal q of a rejection sampler: a Pyro distribution of event shape (2,)."""
        return self.propose(*_where(dtype, device))


def _where(dtype: torch.dtype | None, device: torch.device | str | None) -> tuple[torch.dtype, torch.device]:
    return (
        torch.get_default_dtype() if dtype is None else dtype,
        torch.get_default_device() if device is None else torch.device(device),
    )


def normals(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw standard normals of shape (n, 2) on the generator's device and move them to ``device``."""
    source = device if generator is None else generator.device
    return torch.randn(n, 2, generator=generator, dtype=dtype, device=source).to(device)
