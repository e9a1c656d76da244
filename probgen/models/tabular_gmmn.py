r"""A moment-matching network for tables whose columns are numbers and categories.

Generative story: u ~ U(−1, 1)^k; a network maps u to a score for each numeric column and to logits for each
categorical one; the category is drawn from them with Gumbel noise, the arg max of logits + noise.
Loss: √MMD² between encoded rows and draws, ``MomentMatching(model, kernel)`` fitted to
``model.as_numbers(table.train)``.

A number is encoded by its normal score, Φ⁻¹ of its rank, equal numbers by one of their ranks at random. So
every numeric column is standard normal, and decoded it has the table's quantiles, atoms included: the network
learns how columns depend. A category is a one-hot vector; its draw is a hard one, whose gradient is that of
the softmax in its place (straight-through) and so biased.

Source: Li, Swersky and Zemel (2015) for the loss; Jang, Gu and Poole (2017), Categorical reparameterization
with Gumbel-softmax, for the gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from probgen.data import Table
from probgen.data.normal_scores import from_normal_scores, normal_scores
from probgen.models.gmmn import GMMN
from probgen.nets import MLP

if TYPE_CHECKING:
    import pandas as pd


class TabularGMMN(GMMN):
    r"""A network that maps uniform noise to rows of a table.

    Draws never leave the range of the table: a number is interpolated between those seen, a category is one
    of those seen.

    Args:
        table: from whose training rows the encoding is learned: quantiles and categories.
        generator: from noise of shape (\*batch, noise) to (\*batch, ``width``), the numbers of one encoded
            row; by default an MLP with two hidden layers of 128.
        noise: k, the number of uniform coordinates.

    Raises:
        ValueError: for a table with missing values.

    >>> from probgen.data import table
    >>> people = table({"height": [1.5, 1.6, 1.7, 1.8], "smokes": ["no", "yes", "no", "no"]})
    >>> model = TabularGMMN(people, noise=4)
    >>> model.as_numbers(people.train).shape
    torch.Size([3, 3])
    >>> model.frame(2, seed=0).columns.tolist()
    ['height', 'smokes']
    """

    def __init__(self, table: Table, generator: nn.Module | None = None, *, noise: int = 16) -> None:
        for column, missing in zip(table.columns, table.train.isnan().any(0).tolist(), strict=True):
            if missing:
                raise ValueError(
                    f"column {column.name!r} should have no missing values, of which a distance knows "
                    "nothing, but has some: leave these rows or the column out, or take a VAE with "
                    "nets.MixedHead"
                )
        self.widths = [len(column.levels) or 1 for column in table.columns]
        self.width = sum(self.widths)
        super().__init__(
            MLP(noise, self.width, hidden=(128, 128)) if generator is None else generator, noise=noise
        )
        self.source = table
        self._sorted = table.train.detach().cpu().double().sort(0).values.T.contiguous()

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw encoded rows; a given x only says how many to draw, as there is no likelihood."""
        with pyro.plate("data", n if x is None else len(x)):
            u = pyro.sample("u", dist.Uniform(self.low, -self.low).to_event(1))
            scores = self.generator(u, *context)
            zero = scores.new_zeros(self.width)
            gumbel = pyro.sample("gumbel", dist.Gumbel(zero, zero + 1).to_event(1))
        parts = zip(
            self.source.columns, scores.split(self.widths, -1), gumbel.split(self.widths, -1), strict=True
        )
        return torch.cat([_category(part, noise) if c.levels else part for c, part, noise in parts], -1)

    def as_numbers(self, rows: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return coded rows of the table, encoded, shape (n, ``width``); a number outside the range seen is
        put at its end.

        The generator, on the CPU, gives equal numbers their ranks; by default it is seeded with 0.
        """
        generator = generator or torch.Generator().manual_seed(0)
        parts = []
        for column, seen, x in zip(
            self.source.columns, self._sorted, rows.cpu().double().unbind(1), strict=True
        ):
            if column.levels:
                parts.append(one_hot(x.long(), len(column.levels)).double())
                continue
            parts.append(normal_scores(x, seen, generator=generator).unsqueeze(1))
        return torch.cat(parts, 1).to(self.low)

    def as_rows(self, x: Tensor) -> Tensor:
        """Return encoded rows, shape (n, ``width``), as coded rows of the table."""
        columns = []
        parts = x.detach().cpu().double().split(self.widths, 1)
        for column, seen, part in zip(self.source.columns, self._sorted, parts, strict=True):
            if column.levels:
                columns.append(part.argmax(1).double())
                continue
            columns.append(from_normal_scores(part[:, 0], seen, between=column.kind != "count"))
        return torch.stack(columns, 1).to(x)

    def frame(
        self,
        n: int,
        *context: Tensor,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> pd.DataFrame:
        """Draw a table of n rows, in the user's units."""
        return self.source.frame(self.as_rows(self.sample(n, *context, seed=seed, generator=generator)))


def _category(logits: Tensor, gumbel: Tensor) -> Tensor:
    """Draw a category, one-hot, with the gradient of the softmax in its place."""
    soft = (logits + gumbel).softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
