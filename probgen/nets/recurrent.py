"""Recurrent networks over sequences of unequal length, padded."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.nets.checks import check_last, check_sizes


def inside(lengths: Tensor, steps: int) -> Tensor:
    r"""Return which steps of padded sequences are data, boolean of shape (\*batch, steps).

    Args:
        lengths: of the sequences, whole numbers of shape (\*batch,).
        steps: T, the number of steps with padding.

    Raises:
        TypeError: for lengths that are no whole numbers.
        ValueError: for lengths that are not 0 to T.

    >>> inside(torch.tensor([1, 3]), 3)
    tensor([[ True, False, False],
            [ True,  True,  True]])
    """
    if lengths.dtype == torch.bool or lengths.is_floating_point() or lengths.is_complex():
        raise TypeError(f"lengths of sequences should be whole numbers but are {lengths.dtype}")
    if Distribution._validate_args and not bool(((lengths >= 0) & (lengths <= steps)).all()):
        raise ValueError(
            f"lengths of sequences should be 0 to the {steps} steps that there are but go from "
            f"{int(lengths.min())} to {int(lengths.max())}"
        )
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(-1)


def steps_inside(x: Tensor, *context: Tensor) -> Tensor | None:
    r"""Return which steps of sequences x (n, T, \*event) are data, (n, T), or None where no lengths are told.

    Args:
        x: padded, of at least one step.
        context: the lengths, int64 (n,), first of all, or nothing.
    """
    if not x.shape[1]:
        raise ValueError(f"sequences should have at least one step but x has shape {tuple(x.shape)}")
    if not context:
        return None
    if context[0].shape != x.shape[:1]:
        raise ValueError(
            f"lengths of {len(x)} sequences should have shape ({len(x)},) but have {tuple(context[0].shape)}"
        )
    return inside(context[0], x.shape[1])


def steps_read(model: nn.Module, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return x, 0 outside of its steps, and these, for a model that reads x itself, all its steps."""
    if len(context) > 1:
        raise ValueError(
            f"a {type(model).__name__} reads x itself, so that steps that are missing leave no density of "
            "the others: use DeepMarkov or HiddenMarkov"
        )
    steps = steps_inside(x, *context)
    return _only(x, steps), steps


def _only(x: Tensor, steps: Tensor | None) -> Tensor:
    """Return sequences with 0 at all other steps: what lies in padding is no data, not even where it is NaN.

    Raises ValueError where one of the steps is not finite.
    """
    if steps is not None:
        x = torch.where(steps.reshape(*steps.shape, *[1] * (x.dim() - 2)), x, x.new_zeros(()))
    if Distribution._validate_args and x.is_floating_point() and not bool(x.sum().isfinite()):
        odd = (~x.isfinite()).reshape(*x.shape[:2], -1).any(-1)
        if odd.any():
            row, step = odd.nonzero()[0].tolist()
            raise ValueError(
                f"the steps of sequences should be finite but step {step} of sequence {row} holds NaN or "
                "infinity: where steps are missing, DeepMarkov and HiddenMarkov take which were seen"
            )
    return x


def lengths_to_draw(*context: Tensor) -> Tensor:
    """Return the lengths of sequences that are to be drawn, the first part of a context."""
    if not context:
        raise ValueError("the lengths of the sequences to be drawn should be given, whole numbers (n,)")
    if not bool((inside(context[0], max(1, int(context[0].max()))).any(-1)).all()):
        raise ValueError(
            f"lengths of sequences to be drawn should be at least 1 but one is {int(context[0].min())}"
        )
    return context[0]


def told_steps(x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    r"""Return sequences, 0 at steps that are missing or padding, which steps are data, and which were seen.

    The two masks, (n, T), are one where no step is missing, and None without lengths.

    Args:
        x: (n, T, \*event), padded.
        context: of the sequences, lengths, int64 (n,), and which steps were seen, bool (n, T), or the first
            alone, or none.
    """
    steps = steps_inside(x, *context)
    if steps is None or len(context) == 1:
        return _only(x, steps), steps, steps
    seen = context[1]
    if seen.dtype != torch.bool or seen.shape != steps.shape:
        raise ValueError(
            f"the steps that were seen should be bool of shape {tuple(steps.shape)} but are {seen.dtype} of "
            f"shape {tuple(seen.shape)}"
        )
    return _only(x, steps & seen), steps, steps & seen


def known_after(history: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    r"""Return what a history such as :class:`History` knows after so many steps, shape (\*batch, n, h).

    Args:
        x: the steps, and at least one place more, which is not read, (\*batch, n, T, size).
        lengths: how many steps there are, (n,).
    """
    h = history(x)
    return h.gather(-2, lengths[:, None, None].expand(*h.shape[:-2], 1, h.shape[-1])).squeeze(-2)


class GRU(nn.Module):
    r"""Gated recurrent units: sequences (\*batch, T, inputs) to their states (\*batch, T, outputs).

    The state at a step knows the steps up to it or, ``backward``, those from it to the end of the sequence:
    s_t = unit(s_{t−1}, x_t), from a learned s_0. What lies in padded steps has no influence, and states there
    are 0.

    Args:
        inputs: numbers in a step.
        outputs: numbers in a state.
        backward: read from the end of each sequence to its start.
        missing: whether steps may be missing; the units then read one number more, 1 at a step that is.

    Raises:
        ValueError: where a size is below 1, the last dimension of x is not ``inputs``, or steps are missing
            and ``missing`` is not said.

    Source: Cho and others (2014), Learning phrase representations using RNN encoder-decoder.

    >>> GRU(88, 32)(torch.zeros(5, 20, 88)).shape
    torch.Size([5, 20, 32])
    """

    def __init__(self, inputs: int, outputs: int, *, backward: bool = False, missing: bool = False) -> None:
        super().__init__()
        check_sizes(inputs=inputs, outputs=outputs)
        self.inputs, self.outputs, self.backward, self.missing = inputs, outputs, backward, missing
        self.units = nn.GRU(inputs + missing, outputs, batch_first=True)
        self.start = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, inside: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        r"""Return the states; ``inside`` (\*batch, T) says which steps are data, from the first one on.

        ``seen`` (\*batch, T) says which steps are not missing, all where not given.
        """
        check_last(self, x)
        *batch, steps, _ = x.shape
        if seen is not None and not self.missing:
            raise ValueError("a GRU that reads sequences with missing steps should be made with missing=True")
        if self.missing:
            hole = x.new_zeros(*batch, steps, 1) if seen is None else (~seen).unsqueeze(-1).to(x)
            x = torch.cat([torch.where(hole > 0, 0.0, x), hole], -1)
        order = None
        if self.backward:
            order = self._reversed(steps, inside, x)
            x = _in_order(x, order)
        x = x.reshape(-1, steps, self.inputs + self.missing)
        start = self.start.expand(1, len(x), -1).contiguous()
        states = self.units(x, start)[0].reshape(*batch, steps, self.outputs)
        if order is not None:
            states = _in_order(states, order)
        return states if inside is None else torch.where(inside.unsqueeze(-1), states, 0.0)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        """Return the states (n, outputs) after one step x (n, inputs) more, of a GRU that reads forward."""
        if self.backward or self.missing:
            raise ValueError("a GRU that goes on should read forward, and no step should be missing")
        return self.units(x.unsqueeze(1), state.unsqueeze(0).contiguous())[1].squeeze(0)

    @staticmethod
    def _reversed(steps: int, inside: Tensor | None, x: Tensor) -> Tensor:
        """Return the order of steps that turns each sequence round within its length; it is its inverse."""
        step = torch.arange(steps, device=x.device)
        if inside is None:
            return step.flip(0).expand(x.shape[:-1])
        last = inside.sum(-1, keepdim=True) - 1
        return torch.where(inside, last - step, step).expand(x.shape[:-1])


class History(nn.Module):
    r"""What came before each step of a sequence: (\*batch, T, inputs) to (\*batch, T, outputs).

    The state at step t knows x_1, ..., x_{t−1} and not x_t, so that it is what a generative story may know
    when it draws x_t.

    Args:
        reader: a recurrent network that reads forward, such as :class:`GRU`.
        dropout: share of the states' numbers that is left out in training.

    >>> History(GRU(88, 32), dropout=0.5)(torch.zeros(5, 20, 88)).shape
    torch.Size([5, 20, 32])
    """

    def __init__(self, reader: GRU, *, dropout: float = 0.0) -> None:
        super().__init__()
        if reader.backward:
            raise ValueError("a History should read forward but its reader reads backward")
        self.reader = reader
        self.dropout = nn.Dropout(dropout)

    @property
    def outputs(self) -> int:
        """The numbers in a state."""
        return self.reader.outputs

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Return the states; ``inside`` as for :class:`GRU`."""
        start = self.reader.start.expand(*x.shape[:-2], 1, -1)
        states = torch.cat([start, self.reader(x, inside)[..., :-1, :]], -2)
        return self.dropout(states)


class Recent(nn.Module):
    r"""A history and, beside it, the last steps as they are: (\*batch, T, inputs) to (…, T, h + k · inputs).

    What a network must else learn to keep, it is told, as held notes. Steps before the first are 0.

    Args:
        history: such as :class:`History`.
        steps: k.

    >>> Recent(History(GRU(88, 32)), steps=2)(torch.zeros(5, 20, 88)).shape
    torch.Size([5, 20, 208])
    """

    def __init__(self, history: History, *, steps: int) -> None:
        super().__init__()
        check_sizes(steps=steps)
        self.history, self.steps = history, steps

    @property
    def reader(self) -> GRU:
        """What reads the sequence."""
        return self.history.reader

    @property
    def outputs(self) -> int:
        """The numbers that are known before a step."""
        return self.history.outputs + self.steps * self.reader.inputs

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Return what is known before each step; ``inside`` as for :class:`GRU`."""
        shifted = torch.cat([torch.zeros_like(x[..., :1, :]).expand(*x.shape[:-2], self.steps, -1), x], -2)
        recent = [shifted[..., self.steps - k : shifted.shape[-2] - k, :] for k in range(1, self.steps + 1)]
        return torch.cat([self.history(x, inside), *recent], -1)


def _in_order(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(-2, order.unsqueeze(-1).expand(x.shape))
