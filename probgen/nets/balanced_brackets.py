"""Grammar told to a net of tokens: brackets that open are closed before a sequence ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class BalancedBrackets(nn.Module):
    r"""A net of tokens whose logits are −∞ where a token would break the balance of brackets.

    A token changes the depth of nested brackets by a whole number, which must not fall below 0 within it or
    after it; and it toggles some of R marks that come in pairs, such as the numbers of rings in SMILES. The
    token of the end has a probability only at depth 0 and where no mark is open. So all sequences that end
    are balanced, and of a law of balanced sequences every other mass that the net gave away is put where it
    can be: log p of data rises or stays. Others have −∞.

    Args:
        net: tokens to logits, with ``begin``, ``advance`` and ``logits``, such as :class:`TokenGRU`.
        change: of the depth by each token, whole numbers (K,).
        lowest: the lowest change of the depth within each token, its end counted, at most 0, (K,).
        marks: which marks each token toggles, 0 or 1, (K, R).
        end: the token that ends a sequence; what comes after it does not matter.

    >>> from probgen.nets import TokenGRU
    >>> change = torch.tensor([0, 0, 1, -1])  # PAD, END, (, )
    >>> net = BalancedBrackets(
    ...     TokenGRU(4, 6), change=change, lowest=change.clamp(max=0), marks=torch.zeros(4, 0), end=1
    ... )
    >>> net(torch.tensor([[2, 3]]))[0].isfinite().int().tolist()
    [[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 0]]
    """

    change: Tensor
    lowest: Tensor
    marks: Tensor

    def __init__(self, net: nn.Module, *, change: Tensor, lowest: Tensor, marks: Tensor, end: int) -> None:
        super().__init__()
        own: Any = net
        self.size, self.steps, self.inputs, self.end = own.size, own.steps, getattr(own, "inputs", 0), end
        if change.shape != (self.size,) or lowest.shape != (self.size,) or marks.shape[:1] != (self.size,):
            raise ValueError(
                f"change, lowest and marks should have a row for each of {self.size} tokens but have shapes "
                f"{tuple(change.shape)}, {tuple(lowest.shape)} and {tuple(marks.shape)}"
            )
        if bool((lowest > change).any()) or bool((lowest > 0).any()):
            raise ValueError("lowest should be at most 0 and at most change, for each token")
        self.net: Any = net
        self.register_buffer("change", change.long(), persistent=False)
        self.register_buffer("lowest", lowest.long(), persistent=False)
        self.register_buffer("marks", marks.long(), persistent=False)

    def forward(self, tokens: Tensor, *context: Tensor) -> Tensor:
        r"""Return the logits after all prefixes of tokens (\*batch, t), shape (\*batch, t + 1, K)."""
        depth = nn.functional.pad(self.change[tokens].cumsum(-1), (1, 0))
        open_marks = nn.functional.pad(self.marks[tokens].cumsum(-2), (0, 0, 1, 0)) % 2
        return self._allowed(self.net(tokens, *context), depth, open_marks.sum(-1))

    def begin(self, *context: Tensor, batch: torch.Size | tuple[int, ...] = ()) -> State:
        """Return the state of the empty prefix."""
        zeros = self.marks.new_zeros(*batch, 1 + self.marks.shape[1])
        return (zeros, *self.net.begin(*context, batch=batch))

    def advance(self, state: State, token: Tensor) -> State:
        r"""Return the state with one token more, ``token`` of shape (\*batch,)."""
        counts, *own = state
        counts = counts + torch.cat([self.change[token][..., None], self.marks[token]], -1)
        return (counts, *self.net.advance(tuple(own), token))

    def logits(self, state: State) -> Tensor:
        r"""Return the logits of the next token, (\*batch, K)."""
        counts, *own = state
        return self._allowed(self.net.logits(tuple(own)), counts[..., 0], (counts[..., 1:] % 2).sum(-1))

    def _allowed(self, logits: Tensor, depth: Tensor, marks: Tensor) -> Tensor:
        # After a prefix that is broken already, of probability 0, any token may come.
        broken = (depth >= 0)[..., None] & (depth[..., None] + self.lowest < 0)
        is_end = torch.arange(self.size, device=logits.device) == self.end
        unfinished = ((depth > 0) | (marks > 0))[..., None] & is_end
        return logits.masked_fill(broken | unfinished, -torch.inf)
