"""Rows of mixed columns: their law, a head that makes one of a net, and a module that feeds them to a net."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from probgen.core.kinds import KINDS, Kind
from probgen.nets.counts import NegativeBinomial
from probgen.nets.heads import Head
from probgen.nets.laws import log_scale, of_a_law

Kinds = Mapping[Any, Kind] | Sequence[Kind]
"""Kinds by name or in order: "real", "positive", "count", "binary", ("categorical", number of levels)."""

SPREADING = ("real", "positive", "count")
"""Kinds whose law has a spread beside its location."""

RULES: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "real": ("a finite number", lambda x, levels: x.isfinite()),
    "positive": ("above 0", lambda x, levels: (x > 0) & x.isfinite()),
    "count": ("0, 1, 2, ...", lambda x, levels: (x >= 0) & (x == x.round()) & x.isfinite()),
    "binary": ("0 or 1", lambda x, levels: (x == 0) | (x == 1)),
    "categorical": (
        "the place of a level, from 0 on,",
        lambda x, levels: (x >= 0) & (x < levels) & (x == x.round()),
    ),
}
"""What a number of each kind should be, in words and as a test; each is false of NaN."""


class Columns(nn.Module):
    """The columns of a row by kind: their names, their places, the levels of the categorical ones."""

    def __init__(self, kinds: Kinds) -> None:
        super().__init__()
        named: dict[Hashable, Kind] = (
            dict(kinds) if isinstance(kinds, Mapping) else dict(enumerate(kinds, start=1))
        )
        if not named:
            raise ValueError("kinds should have at least one column but are empty")
        words, levels = {}, {}
        for name, kind in named.items():
            word, k = (kind, 0) if isinstance(kind, str) else kind
            if word not in KINDS or (word == "categorical") != (k > 0):
                raise ValueError(
                    f"the kind of column {name!r} should be 'real', 'positive', 'count', 'binary' or "
                    f"('categorical', number of levels) but is {kind!r}"
                )
            words[name], levels[name] = word, k
        self.names = list(named)
        self.words = [word for word in KINDS if word in words.values()]
        self.counts = {word: list(words.values()).count(word) for word in KINDS}
        order = []
        for word in self.words:
            places = [i for i, name in enumerate(self.names) if words[name] == word]
            self.register_buffer(word, torch.tensor(places), persistent=False)
            order += places
        self.register_buffer("back", torch.tensor(order).argsort(), persistent=False)
        self.levels = [k for k in levels.values() if k]
        self.register_buffer("most", torch.tensor(self.levels), persistent=False)

    def __len__(self) -> int:
        return len(self.names)

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """Return the numbers of the columns of each kind."""
        return {word: x.index_select(-1, self.get_buffer(word)) for word in self.words}

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the numbers of all columns in their order: undoes :meth:`split`."""
        return torch.cat(list(parts), -1).index_select(-1, self.get_buffer("back"))

    def good(self, word: str, x: Tensor) -> Tensor:
        """Say which numbers of columns of a kind are what they should be; a missing one is not."""
        return RULES[word][1](x, self.get_buffer("most"))


class MixedRow(constraints.Constraint):
    """Rows whose every column holds a number of its kind, or NaN where it is missing."""

    event_dim = 1
    is_discrete = False
    missing = True

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        super().__init__()

    def each(self, value: Tensor) -> Tensor:
        """Say of each number whether its column may hold it."""
        parts = [self.columns.good(word, x) | x.isnan() for word, x in self.columns.split(value).items()]
        return self.columns.joined(parts)

    def check(self, value: Tensor) -> Tensor:
        return self.each(value).all(-1)

    def fault(self, value: Tensor) -> str | None:
        """Say which column holds what it should not; None where none does."""
        wrong = (~self.each(value)).reshape(-1, len(self.columns))
        if not wrong.any():
            return None
        place = int(wrong.any(0).nonzero()[0])
        found = float(value.reshape(wrong.shape)[wrong[:, place], place][0])
        word = next(w for w in self.columns.words if place in self.columns.get_buffer(w).tolist())
        return (
            f"column {self.columns.names[place]!r} should be {RULES[word][0]} as it is {word}, or NaN where "
            f"it is missing, but holds {found:g}"
        )

    def __repr__(self) -> str:
        return f"a row of {len(self.columns)} mixed columns"


class MixedColumns(dist.TorchDistribution):
    r"""A law of rows whose columns are independent, each of its kind.

    Real ones are normal, positive log-normal, counts negative binomial, binary Bernoulli.

    What is missing (NaN) counts nothing: log p of a row is the sum over the columns that are there, which is
    the marginal law of these.

    Args:
        numbers: shape (\*batch, width), kind after kind: locations, then (without ``spread``) spreads, of
            real, positive and count columns; logits of binary and, column after column, categorical ones.
        columns: which is which.
        spread: of real, positive and count columns where ``numbers`` has none.
    """

    arg_constraints: ClassVar = {"numbers": constraints.real_vector}

    def __init__(
        self,
        numbers: Tensor,
        columns: Columns,
        spread: Tensor | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.numbers, self.columns, self.spread = numbers, columns, spread
        super().__init__(numbers.shape[:-1], torch.Size([len(columns)]), validate_args=validate_args)
        self.laws = self._laws()

    def _laws(self) -> dict[str, Any]:
        """Return a law for the columns of each kind."""
        counts, levels = self.columns.counts, self.columns.levels
        spreading = [counts[word] for word in SPREADING]
        sizes = [*spreading, *(spreading if self.spread is None else []), counts["binary"], *levels]
        parts = self.numbers.split(sizes, -1)
        location = dict(zip(SPREADING, parts[:3], strict=True))
        spreads = parts[3:6] if self.spread is None else self.spread.split(spreading, -1)
        log_spread = {word: log_scale(s) for word, s in zip(SPREADING, spreads, strict=True)}
        logits = parts[-1 - len(levels)]
        off: Any = {"validate_args": False}
        laws: dict[str, Callable[[], Any]] = {
            "real": lambda: dist.Normal(location["real"], log_spread["real"].exp(), **off),
            "positive": lambda: dist.LogNormal(location["positive"], log_spread["positive"].exp(), **off),
            "count": lambda: NegativeBinomial(log_scale(location["count"]), -log_spread["count"], **off),
            "binary": lambda: dist.Bernoulli(logits=logits, **off),
            "categorical": lambda: dist.Categorical(logits=_padded(parts[len(parts) - len(levels) :]), **off),
        }
        return {word: laws[word]() for word in self.columns.words}

    def expand(self, batch_shape: Any, _instance: Any = None) -> MixedColumns:
        numbers = self.numbers.expand(*batch_shape, self.numbers.shape[-1])
        new = MixedColumns(numbers, self.columns, self.spread, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> MixedRow:
        """Rows of these kinds, NaN where a number is missing."""
        return MixedRow(self.columns)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        total = torch.zeros((), dtype=self.numbers.dtype, device=self.numbers.device)
        for word, x in self.columns.split(value).items():
            good = self.columns.good(word, x)
            safe = torch.where(good, x, 1.0 if word == "positive" else 0.0)  # so that no gradient is NaN
            log_p = self.laws[word].log_prob(safe)
            wrong = ~good & ~x.isnan()
            total = total + torch.where(good, log_p, torch.where(wrong, -torch.inf, 0.0)).sum(-1)
        return total

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self.columns.joined([law.sample(shape).to(self.numbers) for law in self.laws.values()])

    @property
    def mean(self) -> Tensor:
        """The mean of each column; of a categorical one, whose places have none, the most probable level."""
        return self.columns.joined(
            [
                law.logits.argmax(-1).to(self.numbers) if word == "categorical" else law.mean
                for word, law in self.laws.items()
            ]
        )

    def _validate_sample(self, value: Tensor) -> None:
        fault = self.support.fault(value) if value.shape[-1:] == self.event_shape else None
        if fault is not None:
            raise ValueError(fault)
        super()._validate_sample(value)


class MixedHead(Head):
    r"""Independent columns of mixed kinds given the context, of which some may be missing (NaN).

    A real column is normal, a positive one log-normal, a count negative binomial, a binary one Bernoulli, a
    categorical one categorical over the places of its levels. Values are as :func:`probgen.data.table` codes
    them, and ``table.kinds`` is what this takes. What is missing adds 0 to log p, without a gradient.

    Args:
        net: with ``MixedHead.width(kinds, scale=scale)`` outputs.
        kinds: by column.
        scale: whether spreads (standard deviations of values or of their logarithms, 1/size of counts) come
            from the net, for "each" context, or are learned, one a column, "shared" by all contexts.

    >>> from probgen.nets import MLP
    >>> kinds = {"age": "positive", "visits": "count", "town": ("categorical", 3)}
    >>> law = MixedHead(MLP(2, MixedHead.width(kinds)), kinds)(torch.zeros(5, 2))
    >>> law.log_prob(torch.tensor([[0.5, 3.0, 2.0], [torch.nan, 0.0, torch.nan]])[[0, 1, 1, 0, 1]]).shape
    torch.Size([5])
    """

    takes_missing = True

    def __init__(self, net: nn.Module, kinds: Kinds, *, scale: Literal["each", "shared"] = "each") -> None:
        if scale not in ("each", "shared"):
            raise ValueError(f"scale should be 'each' or 'shared' but got {scale!r}")
        super().__init__(net, 1)
        self.columns = Columns(kinds)
        self._width = self.width(kinds, scale=scale)
        spreading = sum(self.columns.counts[word] for word in SPREADING)
        self.scale = nn.Parameter(torch.zeros(spreading)) if scale == "shared" and spreading else None

    @staticmethod
    def width(kinds: Kinds, *, scale: Literal["each", "shared"] = "each") -> int:
        """Return how many numbers the net should give."""
        columns = Columns(kinds)
        spreading = sum(columns.counts[word] for word in SPREADING)
        locations = spreading + columns.counts["binary"] + sum(columns.levels)
        return locations + (spreading if scale == "each" else 0)

    @property
    def outputs(self) -> int:
        """The number of columns."""
        return len(self.columns)

    def forward(self, *context: Tensor) -> dist.Distribution:
        numbers = of_a_law(self.net(*context))
        if numbers.shape[-1] != self._width:
            raise ValueError(
                f"MixedHead needs {self._width} numbers for its {len(self.columns)} columns, "
                f"MixedHead.width(kinds), but its net returned {numbers.shape[-1]}"
            )
        return MixedColumns(numbers, self.columns, self.scale)


class MixedInput(nn.Module):
    r"""Rows of mixed columns, (\*batch, columns), as inputs of a net, (\*batch, ``width``).

    Real and binary numbers are taken as they are, positive ones as logarithms, counts as log(1 + x),
    categories one-hot. What is missing is 0, and a further number for each column is 1 where it is, else 0.

    >>> kinds = ["positive", ("categorical", 2)]
    >>> MixedInput(kinds)(torch.tensor([[1.0, 1.0], [torch.nan, 0.0]]))
    tensor([[0., 0., 1., 0., 0.],
            [0., 1., 0., 1., 0.]])
    """

    def __init__(self, kinds: Kinds) -> None:
        super().__init__()
        self.columns = Columns(kinds)
        self.width = 2 * len(self.columns) - len(self.columns.levels) + sum(self.columns.levels)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (len(self.columns),):
            raise ValueError(
                f"MixedInput should get rows of {len(self.columns)} columns but got shape {tuple(x.shape)}"
            )
        parts = []
        for word, values in self.columns.split(x).items():
            good = self.columns.good(word, values)  # what is wrong, and not missing, the likelihood refuses
            if word == "categorical":
                places = torch.where(good, values, -1).long().unbind(-1)
                for place, levels in zip(places, self.columns.levels, strict=True):
                    parts.append((place[..., None] == torch.arange(levels, device=x.device)).to(x))
                continue
            number = torch.where(good, values, 1.0 if word == "positive" else 0.0)
            parts.append(
                number.log() if word == "positive" else number.log1p() if word == "count" else number
            )
        return torch.cat([*parts, x.isnan().to(x)], -1)


def _padded(logits: Sequence[Tensor]) -> Tensor:
    """Return logits of columns of different numbers of levels, one shape, −∞ for those not there."""
    most = max(part.shape[-1] for part in logits)
    padded = [nn.functional.pad(part, (0, most - part.shape[-1]), value=-torch.inf) for part in logits]
    return torch.stack(padded, -2)
