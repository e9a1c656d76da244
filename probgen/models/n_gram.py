r"""The n-gram of Kneser and Ney: each token given the n − 1 before it, by discounted counts.

Graphical model: x_{t−n+1}, ..., x_{t−1} → x_t. With c the counts of what was learned from,

    p_k(w | h) = (max(c(h w) − D, 0) + D · N(h ·) · p_{k−1}(w | h′)) / c(h),

N(h ·) the number of different tokens after h, h′ the context h without its first token, and p_0 uniform.
Below the highest order c(h w) is the number of different tokens before h w: how many contexts a token goes
with, and not how often it occurs. After a context that was never seen, p_k is p_{k−1}.

Source: Kneser and Ney (1995), Improved backing-off for m-gram language modeling; interpolated, as Chen and
Goodman (1999), An empirical study of smoothing techniques for language modeling, have it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from probgen.core import GenerativeModel, check_count
from probgen.data import END, PAD
from probgen.nets.checks import check_known
from probgen.priors.kneser_ney import KneserNey

BLOCK = 2**18
"""Tokens that are scored at once."""


class NGram(GenerativeModel):
    r"""Sequences of tokens with a likelihood by counting: the baseline of networks.

    Args:
        size: K, the number of different tokens.
        order: n, tokens in an n-gram, 1 or more.
        steps: the longest sequence that is drawn.
        ends: whether sequences end, with END = 1 inside and PAD = 0 after it, which costs nothing; a
            sequence then starts with no tokens before it. If not, tokens are a text that goes on.
        discount: D, in (0, 1).

    >>> x = torch.tensor([[2, 3, 1], [2, 1, 0]])
    >>> model = NGram(4, order=2, steps=3).learn(x)
    >>> model.log_prob(x).exp()
    tensor([0.1002, 0.3313], dtype=torch.float64)
    """

    def __init__(
        self, size: int, *, order: int, steps: int, ends: bool = True, discount: float = 0.9
    ) -> None:
        super().__init__()
        self.size, self.order = check_count("size", size, least=2), check_count("order", order)
        self.steps, self.ends = check_count("steps", steps), ends
        if not 0 < discount < 1:
            raise ValueError(f"discount should be in (0, 1) but got {discount}")
        self.discount = discount
        self.law: KneserNey | None = None
        self._counted: tuple[np.ndarray, np.ndarray] | None = None
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def learn(self, x: Tensor) -> NGram:
        """Count the n-grams of sequences (n, T), in the place of what was learned before, and return self."""
        self._check(x)
        grams, inside = self._grams(x.cpu().numpy())
        early = inside & (grams[..., -1] == PAD)
        if self.ends and early.any():
            raise ValueError(f"PAD comes after END but row {int(early.any(1).argmax())} has it before")
        self._counted = np.unique(grams[inside], axis=0, return_counts=True)
        self._law_of_counts()
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return the n-grams that occurred, (m, n), how often each did, (m,), and of what they are."""
        if self._counted is None:
            return {}
        grams, counts = map(torch.from_numpy, self._counted)
        return {"grams": grams, "counts": counts, "size": self.size, "ends": self.ends}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up n-grams and their counts."""
        counted = None
        if state:
            own = {"order": self.order, "size": self.size, "ends": self.ends}
            of_state = {"order": state["grams"].shape[1], "size": state["size"], "ends": state["ends"]}
            if of_state != own:
                raise ValueError(f"the NGram should be of what was counted, {of_state}, but is of {own}")
            counted = (state["grams"].cpu().numpy(), state["counts"].cpu().numpy())
        self._counted = counted
        self._law_of_counts()

    def _law_of_counts(self) -> None:
        never = PAD if self.ends else None
        self.law = (
            None
            if self._counted is None
            else KneserNey(*self._counted, size=self.size, never=never, discount=self.discount)
        )

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw tokens one after the other."""
        if x is not None:
            with pyro.plate("data", len(x)):
                pyro.factor("x", self.log_prob(x))
            return x
        before = np.full((n, self.order - 1), self.size)
        device = self.get_buffer("device_of").device
        tokens, ended = torch.full((n, self.steps), PAD), torch.zeros(n, dtype=torch.bool)
        for t in range(self.steps):
            token = torch.multinomial(torch.from_numpy(self.probabilities(before)), 1)[:, 0]
            tokens[:, t] = torch.where(ended, PAD, token)
            ended |= (token == END) & self.ends
            before = np.concatenate([before, token[:, None].numpy()], 1)[:, 1:]
        return tokens.to(device)

    def probabilities(self, before: np.ndarray) -> np.ndarray:
        """Return p(w | the n − 1 tokens before) of all tokens w, (m, K), for contexts (m, n − 1).

        K stands for no token, as before the start of a sequence.
        """
        grams = np.repeat(before, self.size, 0)
        grams = np.concatenate([grams, np.tile(np.arange(self.size), len(before))[:, None]], 1)
        return self._probability(grams).reshape(len(before), self.size)

    def log_prob(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return log p(x) of each sequence (n, T), in nats, float64 of shape (n,)."""
        return self.token_log_probs(x).sum(-1)

    def token_log_probs(self, x: Tensor) -> Tensor:
        """Return log p(x_t | all before) of each token, float64 (n, T), 0 for padding."""
        self._check(x)
        grams, inside = self._grams(x.cpu().numpy())
        rows = grams[inside]
        found = np.zeros(x.shape)
        blocks = [self._probability(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        with np.errstate(divide="ignore"):
            found[inside] = np.log(np.concatenate(blocks))
        if self.ends:
            wrong = ~inside & (x.cpu().numpy() != PAD)
            found[wrong] = -np.inf
        return torch.from_numpy(found).to(x.device)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many tokens each sequence has, shape (n,)."""
        return (x != PAD).sum(-1) if self.ends else x.new_full(x.shape[:1], x.shape[1])

    def _check(self, x: Tensor) -> None:
        check_known(x, self.size)
        if x.dim() != 2 or not x.numel():
            raise ValueError(f"x should be tokens of shape (n, T) but has shape {tuple(x.shape)}")

    def _grams(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the n-gram that ends at each token, (n, T, order), and which tokens are no padding."""
        padded = np.concatenate([np.full((len(x), self.order - 1), self.size), x], 1)
        grams = np.lib.stride_tricks.sliding_window_view(padded, self.order, 1)
        if not self.ends:
            return grams, np.ones(x.shape, dtype=bool)
        return grams, np.cumsum(x == END, 1) - (x == END) == 0

    def _probability(self, grams: np.ndarray) -> np.ndarray:
        if self.law is None:
            raise ValueError("an NGram should have counted before it is asked: model.learn(x)")
        return self.law.probability(grams)
