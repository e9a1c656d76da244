"""Sequences drawn at a temperature, and the likeliest ones: greedy and beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical

from probgen.core import check_count, seed_of, seeded
from probgen.data import END, PAD
from probgen.priors.sentences import Sentence


@torch.no_grad()
def tempered(
    law: Sentence,
    n: Sequence[int] = (),
    *,
    temperature: float,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw sequences whose tokens are each of the law p(x_t | before)^{1/τ}, normed, (\*n, \*batch, T).

    At τ = 1 they are draws of the law. Below, likely tokens become likelier, at each step by itself: that is
    not p(x)^{1/τ} of whole sequences.

    Args:
        law: of sequences that end, with any batch shape.
        n: a shape of draws of each.
        temperature: τ, above 0.
        seed, generator: of the draws, one at most.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature should be above 0 and finite but got {temperature}: greedy(law) is what 0 would be"
        )

    def choose(logits: Tensor) -> Tensor:
        return Categorical(logits=logits / temperature, validate_args=False).sample()

    with seeded(seed_of(seed, generator)):
        return law.drawn(choose, (*n, *law.batch_shape))


@torch.no_grad()
def greedy(law: Sentence) -> Tensor:
    r"""Return the sequence that takes the likeliest token at each step, (\*batch, T).

    It is not always the likeliest sequence: see :func:`beam_search`.
    """
    return law.drawn(lambda logits: logits.argmax(-1), law.batch_shape)


@torch.no_grad()
def beam_search(law: Sentence, *, beams: int) -> tuple[Tensor, Tensor]:
    r"""Return the ``beams`` likeliest sequences that were found, and their log p, the likeliest first.

    At each step the likeliest prefixes are kept, those that have ended beside the others. With as many beams
    as there are prefixes the likeliest sequences of all are found; with fewer perhaps others; with one it is
    :func:`greedy`.

    Args:
        law: of sequences that end, with any batch shape.
        beams: prefixes that are kept.

    Returns:
        tokens (\*batch, beams, T), and log p (\*batch, beams), −inf where there are fewer sequences.
    """
    beams = check_count("beams", beams)
    shape = (*law.batch_shape, beams)
    wide = Sentence(
        law.net,
        *(part.unsqueeze(-2) for part in law.context),
        steps=law.steps,
        size=law.size,
        batch_shape=shape,
    )
    state = wide.begin(shape)
    device = state[0].device
    tokens = torch.full((*shape, law.steps), PAD, device=device)
    ended = torch.zeros(shape, dtype=torch.bool, device=device)
    logits = wide.next_logits(state)
    # All beams are the same at the start: the first alone counts.
    score = torch.full(shape, -torch.inf, dtype=logits.dtype, device=device)
    score[..., 0] = 0.0
    only_pad = torch.where(torch.arange(law.size, device=device) == PAD, 0.0, -torch.inf).to(logits)
    for t in range(law.steps):
        step = torch.where(ended.unsqueeze(-1), only_pad, logits.log_softmax(-1))
        score, place = (score.unsqueeze(-1) + step).flatten(-2).topk(beams)
        beam, token = place // law.size, place % law.size
        tokens = _of_beams(tokens, beam)
        tokens[..., t] = token
        ended = _of_beams(ended, beam) | (token == END)
        if t + 1 == law.steps or bool(ended.all()):
            break
        state = wide.advance(tuple(_of_beams(part, beam) for part in state), token)
        logits = wide.next_logits(state)
    return tokens, score


def _of_beams(part: Tensor, beam: Tensor) -> Tensor:
    r"""Return the rows of chosen beams, of (\*batch, beams) or (\*batch, beams, k)."""
    dim = beam.dim() - 1
    if part.dim() == beam.dim():
        return part.gather(dim, beam)
    return part.gather(dim, beam.unsqueeze(-1).expand(*beam.shape, part.shape[-1]))
