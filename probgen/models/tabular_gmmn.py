r"""A moment-matching network for tables whose columns are numbers and categories.

Generative story: u ~ U(−1, 1)^k; a network maps u to a score for each numeric column and to logits for each
categorical one; the category is drawn from them with Gumbel noise, the arg max of logits + noise.
Loss: √MMD² between encoded rows and draws, ``MomentMatching(model, kernel)`` fitted to
``model.as_numbers(table)``.

A number is encoded by its normal score, Φ⁻¹ of its rank, equal numbers by one of their ranks at random. So
every numeric column is standard normal, and decoded it has the table's quantiles, atoms included: the network
learns how columns depend. A category is a one-hot vector; its draw is a hard one, whose gradient is that of
the softmax in its place (straight-through) and so biased.

Source: Li, Swersky and Zemel (2015) for the loss; Jang, Gu and Poole (2017), Categorical reparameterization
with Gumbel-softmax, for the gradient.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pandas.api.types import is_float_dtype
from torch import Tensor, nn
from torch.nn.functional import one_hot

from probgen.models.gmmn import GMMN
from probgen.nets import MLP


class TabularGMMN(GMMN):
    r"""A network that maps uniform noise to rows of a table.

    Columns of floats are numbers, all others are categories. Draws never leave the range of the table: a
    number is interpolated between those seen, a category is one of those seen.

    Args:
        table: from which the encoding is learned: quantiles and categories.
        generator: from noise of shape (\*batch, noise) to (\*batch, ``width``), the numbers of one encoded
            row; by default an MLP with two hidden layers of 128.
        noise: k, the number of uniform coordinates.

    Raises:
        ValueError: for a table that is empty, or with missing or infinite values.

    >>> table = pd.DataFrame({"height": [1.5, 1.6, 1.7, 1.8], "smokes": ["no", "yes", "no", "no"]})
    >>> model = TabularGMMN(table, noise=4)
    >>> model.as_numbers(table).shape
    torch.Size([4, 3])
    >>> model.table(2, seed=0).columns.tolist()
    ['height', 'smokes']
    """

    def __init__(self, table: pd.DataFrame, generator: nn.Module | None = None, *, noise: int = 16) -> None:
        if table.empty:
            raise ValueError(f"table should have at least one row and column but has shape {table.shape}")
        if not table.columns.is_unique:
            raise ValueError(f"table should have columns of different names but has {table.columns.tolist()}")
        columns: dict[object, _Numbers | _Categories] = {
            name: _Numbers(values) if is_float_dtype(values.dtype) else _Categories(values)
            for name, values in table.items()
        }
        self.width = sum(column.width for column in columns.values())
        super().__init__(
            MLP(noise, self.width, hidden=(128, 128)) if generator is None else generator, noise=noise
        )
        self.columns = columns

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw encoded rows; a given x only says how many to draw, as there is no likelihood."""
        with pyro.plate("data", n if x is None else len(x)):
            u = pyro.sample("u", dist.Uniform(self.low, -self.low).to_event(1))
            scores = self.generator(u, *context)
            zero = scores.new_zeros(self.width)
            gumbel = pyro.sample("gumbel", dist.Gumbel(zero, zero + 1).to_event(1))
        parts = zip(self.columns.values(), self._split(scores), self._split(gumbel), strict=True)
        return torch.cat([column.drawn(*numbers) for column, *numbers in parts], -1)

    def as_numbers(self, table: pd.DataFrame, *, generator: torch.Generator | None = None) -> Tensor:
        """Return rows as numbers, shape (n, ``width``); a number outside the range seen is put at its end.

        The generator, on the CPU, gives equal numbers their ranks; by default it is seeded with 0.
        """
        if list(table.columns) != list(self.columns):
            raise ValueError(
                f"table should have the columns {list(self.columns)} but has {list(table.columns)}"
            )
        generator = generator or torch.Generator().manual_seed(0)
        parts = [column.encoded(table[name], generator) for name, column in self.columns.items()]
        return torch.cat(parts, 1).to(self.low)

    def as_table(self, x: Tensor) -> pd.DataFrame:
        """Return encoded rows, shape (n, ``width``), as a table."""
        parts = zip(self.columns.items(), self._split(x.detach().cpu().double()), strict=True)
        return pd.DataFrame({name: column.decoded(part) for (name, column), part in parts})

    def table(self, n: int, *context: Tensor, seed: int | None = None) -> pd.DataFrame:
        """Draw a table of n rows."""
        return self.as_table(self.sample(n, *context, seed=seed))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the numbers of each column."""
        return x.split([column.width for column in self.columns.values()], -1)


class _Numbers:
    """A numeric column, encoded by normal scores."""

    width = 1

    def __init__(self, values: pd.Series) -> None:
        self.name, self.dtype = values.name, values.dtype
        self.sorted = np.sort(self._finite(values))

    def encoded(self, values: pd.Series, generator: torch.Generator) -> Tensor:
        found, n = self._finite(values), len(self.sorted)
        low, high = (np.searchsorted(self.sorted, found, side=side) for side in ("left", "right"))
        share = torch.rand(len(found), dtype=torch.float64, generator=generator).numpy()
        ranks = (low + share * np.maximum(high - low - 1, 0)).clip(0, n - 1)
        return torch.special.ndtri(torch.from_numpy((ranks + 0.5) / n)).unsqueeze(1)

    def decoded(self, scores: Tensor) -> pd.Series:
        places = torch.special.ndtr(scores[:, 0]).numpy() * len(self.sorted) - 0.5
        found = np.interp(places, np.arange(len(self.sorted)), self.sorted)
        return pd.Series(found).astype(self.dtype)

    def drawn(self, score: Tensor, gumbel: Tensor) -> Tensor:
        return score

    def _finite(self, values: pd.Series) -> np.ndarray:
        found = values.to_numpy(np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"column {self.name!r} should be finite but has missing or infinite values")
        return found


class _Categories:
    """A categorical column, encoded one-hot."""

    def __init__(self, values: pd.Series) -> None:
        self.name, self.dtype = values.name, values.dtype
        if values.isna().any():
            raise ValueError(f"column {self.name!r} should have no missing values but has some")
        self.levels = pd.Index(values.unique())
        self.width = len(self.levels)

    def encoded(self, values: pd.Series, generator: torch.Generator) -> Tensor:
        places = self.levels.get_indexer(pd.Index(values))
        if (places < 0).any():
            unseen = values.iloc[int(np.argmax(places < 0))]
            raise ValueError(f"column {self.name!r} should hold categories seen before but holds {unseen!r}")
        return one_hot(torch.from_numpy(places).long(), self.width).double()

    def decoded(self, x: Tensor) -> pd.Series:
        return pd.Series(self.levels.take(x.argmax(1).numpy())).astype(self.dtype)

    def drawn(self, logits: Tensor, gumbel: Tensor) -> Tensor:
        soft = (logits + gumbel).softmax(-1)
        hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())
