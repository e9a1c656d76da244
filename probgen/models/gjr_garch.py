r"""Returns whose variance follows their own past: GARCH(1,1) and GJR, with Student-t innovations.

Generative story: r_t = μ + σ_t ε_t, ε_t ~ Student-t with ν degrees of freedom, of variance 1;
σ_t² = ω + (α + γ 1[r_{t−1} < μ]) (r_{t−1} − μ)² + β σ_{t−1}², from σ_1² = ω / (1 − α − γ/2 − β), its mean.
Loss: −log p(r), in closed form, ``MaximumLikelihood(garch)``, by ``fit`` or ``training.fit_lbfgs``.

Source: Bollerslev (1987) for the Student-t; Glosten, Jagannathan and Runkle (1993).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from probgen.core import GenerativeModel, check_count, seed_of, seeded
from probgen.nets import inside
from probgen.nets.recurrent import lengths_to_draw, steps_read


class GJRGARCH(GenerativeModel):
    r"""Series of returns, shape (n, T), whose context is their lengths, int64 (n,); without it all are data.

    Whatever the weights, variances are positive and stationary: α ≥ 0, α + γ ≥ 0, β ≥ 0, ν > 2 and the
    persistence α + γ/2 + β is below 1. Returns in percent, or in another unit in which their variance is
    about 1, are easiest to learn; ``fit_lbfgs`` needs float64 weights, ``.double()``.

    Args:
        asymmetric: whether falls move the variance otherwise than rises; without it γ = 0, GARCH(1,1).

    >>> garch = GJRGARCH().double()
    >>> garch.sample(2, torch.tensor([5, 3]), seed=0).shape, garch.log_prob(torch.zeros(2, 5).double()).shape
    (torch.Size([2, 5]), torch.Size([2]))
    """

    def __init__(self, *, asymmetric: bool = True) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))
        self.log_variance = nn.Parameter(torch.zeros(()))  # of σ_1², the mean of all
        self.persistence = nn.Parameter(torch.tensor(3.0))  # log-odds
        # Shares of the persistence: β, and half of α and half of α + γ, or α.
        self.shares = nn.Parameter(torch.tensor([3.0, 0.0, 0.0] if asymmetric else [3.0, 0.7]))
        self.log_freedom = nn.Parameter(torch.tensor(1.6))  # of ν − 2

    def coefficients(self) -> tuple[Tensor, ...]:
        """Return μ, ω, α, γ, β and ν."""
        shares = self.persistence.sigmoid() * self.shares.softmax(-1)
        beta, *rest = shares.unbind(-1)
        rise, fall = (2 * rest[0], 2 * rest[1]) if len(rest) == 2 else (rest[0], rest[0])
        omega = (self.log_variance + logsigmoid(-self.persistence)).exp()
        return self.mean, omega, rise, fall - rise, beta, 2 + self.log_freedom.exp()

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw returns one after the other; steps outside are 0."""
        if x is not None:
            with pyro.plate("data", len(x)):
                pyro.factor("x", self.log_prob(x, *context))
            return x
        lengths = lengths_to_draw(*context).to(self.mean.device)
        noise = self._innovations(n, int(lengths.max()))
        drawn = self._onwards(self.log_variance.exp().expand(n), noise)
        return torch.where(inside(lengths, drawn.shape[1]), drawn, 0.0)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each series has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def variances(self, x: Tensor) -> Tensor:
        """Return σ_1², ..., σ_T², and σ_{T+1}² that is forecast, given returns x: shape (n, T + 1)."""
        if x.dim() != 2 or not x.is_floating_point():
            raise ValueError(f"x should be real returns of shape (n, T) but is {x.dtype} of {tuple(x.shape)}")
        mean, omega, alpha, gamma, beta, _ = self.coefficients()
        apart = x - mean
        moved = omega + (alpha + gamma * (apart < 0)) * apart**2
        total = torch.cat([self.log_variance.exp().expand(len(x), 1), moved], 1)
        # σ_t² = Σ_k β^k u_{t−k}: sums over 1, 2, 4, ... terms, each of two that are half as long.
        reach = 1
        while reach < total.shape[1]:
            total = total + nn.functional.pad(total[:, :-reach] * beta**reach, (reach, 0))
            reach *= 2
        return total

    def step_laws(self, x: Tensor) -> dist.StudentT:
        """Return the law of each return given those before, and of the next one, batch shape (n, T + 1)."""
        freedom = self.coefficients()[-1]
        return dist.StudentT(freedom, self.mean, (self.variances(x) * (1 - 2 / freedom)).sqrt())

    def log_prob(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return log p(x) of each series, in nats, shape (n,); what lies in padded steps has no influence."""
        x, steps = steps_read(self, x, self.steps_of(x, *context), *context[1:])
        assert steps is not None
        laws = self.step_laws(x[:, :-1])
        return torch.where(steps, laws.log_prob(x), 0.0).sum(1)

    @torch.no_grad()
    def forecast(
        self,
        x: Tensor,
        *,
        horizon: int,
        n: int,
        innovations: Tensor | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Draw ``n`` paths of the next returns after each series, shape (n, series, horizon).

        Args:
            x: returns up to now, shape (series, T).
            horizon: steps ahead.
            innovations: standardised residuals to draw from in place of the Student-t, such as those of
                :meth:`residuals`: filtered historical simulation (Barone-Adesi and others, 1999).
            seed, generator: one at most; torch's global state where not given.
        """
        rows, horizon = check_count("n", n) * len(x), check_count("horizon", horizon)
        with seeded(seed_of(seed, generator)):
            noise = self._innovations(rows, horizon)
            if innovations is not None:
                noise = innovations[torch.randint(len(innovations), noise.shape, device=x.device)]
        return self._onwards(self.variances(x)[:, -1].repeat(n), noise).reshape(n, len(x), horizon)

    @torch.no_grad()
    def residuals(self, x: Tensor) -> Tensor:
        """Return (r_t − μ) / σ_t, shape (n, T)."""
        return (x - self.mean) / self.variances(x)[:, :-1].sqrt()

    @torch.no_grad()
    def start_at(self, x: Tensor, *lengths: Tensor) -> None:
        """Let μ and σ_1² be the mean and the variance of the data, from which learning goes fast."""
        seen = x[inside(self.steps_of(x, *lengths), x.shape[1])]
        if not bool(seen.isfinite().all()):
            raise ValueError("x should be finite but a return is NaN or infinite")
        if not seen.var() > 0:
            raise ValueError(f"x should vary but all {len(seen)} returns are {float(seen[0]):g}")
        self.mean.copy_(seen.mean()), self.log_variance.copy_(seen.var().log())

    def _innovations(self, rows: int, steps: int) -> Tensor:
        """Draw from the Student-t of variance 1."""
        freedom = self.coefficients()[-1]
        return dist.StudentT(freedom).sample(torch.Size((rows, steps))) * (1 - 2 / freedom).sqrt()

    def _onwards(self, variance: Tensor, noise: Tensor) -> Tensor:
        """Return the returns that innovations make of a variance, step after step."""
        (mean, omega, alpha, gamma, beta, _), drawn = self.coefficients(), []
        for innovation in noise.unbind(1):
            apart = variance.sqrt() * innovation
            drawn.append(mean + apart)
            variance = omega + (alpha + gamma * (apart < 0)) * apart**2 + beta * variance
        return torch.stack(drawn, 1)
