"""Games between two players in one scalar, so that one optimizer trains both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from probgen.core import Terms, check_count

Loss = Literal["cross-entropy", "least-squares"]

PENALISED = "+penalty"
"""What stands behind the name of a player in the turns whose loss has its penalty."""


def adversarial_loss(
    critic: nn.Module, *, real: Tensor, fake: Tensor, loss: Loss = "cross-entropy"
) -> tuple[Tensor, Terms]:
    r"""Return L_critic + L_generator and both as terms, ``critic`` and ``generator``.

    With c the critic's output and "cross-entropy", L_critic = E log(1 + e^(−c(real))) + E log(1 + e^c(fake))
    and L_generator = E log(1 + e^(−c(fake))), the non-saturating one. With "least-squares" they are
    ½ E (c(real) − 1)² + ½ E c(fake)² and ½ E (c(fake) − 1)².

    The critic's loss sees detached samples, and the generator's a critic with detached weights, so that the
    gradient of the sum is for each player that of its own loss. What made ``real`` has no gradient. Buffers
    of the critic, such as running means, move in its own loss alone.

    Args:
        critic: from samples, shape (n, \*event), to one number each: the larger, the more it looks real.
        real, fake: samples of shape (n, \*event) and (m, \*event).
        loss: "cross-entropy" or "least-squares".

    Source: Goodfellow and others (2014), Generative adversarial nets; Mao and others (2017), Least squares
    generative adversarial networks.

    >>> import torch
    >>> zero, x = nn.Linear(2, 1), torch.zeros(5, 2)
    >>> _ = nn.init.zeros_(zero.weight), nn.init.zeros_(zero.bias)
    >>> _, terms = adversarial_loss(zero, real=x, fake=x)
    >>> {name: round(float(value), 4) for name, value in terms.items()}  # 2 log 2 and log 2
    {'critic': 1.3863, 'generator': 0.6931}
    """
    check_loss(loss)
    deceived = as_it_stands(critic, fake)
    on_real, on_fake = critic(real.detach()), critic(fake.detach())
    if loss == "cross-entropy":
        of_critic = softplus(-on_real).mean() + softplus(on_fake).mean()
        of_generator = softplus(-deceived).mean()
    else:
        of_critic = 0.5 * (on_real - 1).square().mean() + 0.5 * on_fake.square().mean()
        of_generator = 0.5 * (deceived - 1).square().mean()
    terms = {"critic": of_critic.detach(), "generator": of_generator.detach()}
    return of_critic + of_generator, terms


def as_it_stands(critic: nn.Module, x: Tensor) -> Tensor:
    """Return what a critic says of x, with a gradient for x alone: its weights and averages do not move."""
    frozen = {name: weight.detach() for name, weight in critic.named_parameters()}
    frozen |= {name: buffer.clone() for name, buffer in critic.named_buffers()}
    return functional_call(critic, frozen, (x,))


def lazy_turns(turns: Sequence[str], *, player: str, every: int) -> tuple[str, ...]:
    r"""Return the turns of a game in which a player's loss L has its penalty R in each k-th turn only.

    Those turns have ``PENALISED`` behind the player's name; there the loss is L + k R, elsewhere L. Over a
    cycle the gradients of k turns add up to k ∇(L + R) where the weights stand still, and a penalty that
    takes gradients of gradients, most of a critic's time, is computed in one turn of k. One optimizer steps
    by both, so that its settings need no correction.

    Args:
        turns: the turns of an objective, ``("",)`` where all players move at once.
        player: whose loss has the penalty, one of ``turns``.
        every: k; with 1 the turns stay as they are, and each has the penalty.

    Raises:
        ValueError: for a player who has no turn, or k below 1.

    Source: Karras, Laine, Aittala, Hellsten, Lehtinen and Aila (2020), Analyzing and improving the image
    quality of StyleGAN, lazy regularization.

    >>> lazy_turns(("critic", "model"), player="critic", every=2)
    ('critic+penalty', 'model', 'critic', 'model')
    """
    every, own = check_count("every", every), list(turns).count(player)
    if not own:
        raise ValueError(f"player should be one of turns, {tuple(turns)}, but is {player!r}")
    if every == 1:
        return tuple(turns)
    cycle, seen = [], 0
    for turn in tuple(turns) * (every // math.gcd(every, own)):
        cycle.append(turn + PENALISED if turn == player and seen % every == 0 else turn)
        seen += turn == player
    return tuple(cycle)


def check_loss(loss: str) -> None:
    """Raise unless there is such a loss."""
    if loss not in get_args(Loss):
        raise ValueError(f"loss should be {' or '.join(map(repr, get_args(Loss)))} but got {loss!r}")
