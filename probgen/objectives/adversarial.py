"""Games between two players in one scalar, so that one optimizer trains both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu, softplus

from probgen.core import Terms, check_count

Loss = Literal[
    "absolute", "cross-entropy", "minimax", "least-squares", "hinge", "wasserstein", "relativistic"
]

Arguments = Tensor | tuple[Tensor, ...]
"""What a discriminator is given of each side: x, or (x, \\*context)."""

PENALISED = "+penalty"
"""What stands behind the name of a player in the turns whose loss has its penalty."""

PROBABILITIES = ("Sigmoid", "Softmax", "LogSigmoid", "LogSoftmax", "Hardsigmoid")
"""What a discriminator should not end in, as autograd calls it."""

RESHAPING = ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Select", "Slice", "ToCopy")
"""What may come after it."""

COMPARED = ("wasserstein", "relativistic")
"""Losses that a constant added to all logits leaves as it is: these say something of two data only."""


def adversarial_loss(
    discriminator: nn.Module,
    *,
    real: Arguments,
    fake: Arguments,
    loss: Loss = "cross-entropy",
    turn: str = "",
    mirrored: bool = False,
) -> tuple[Tensor, Terms]:
    r"""Return L_discriminator + L_generator, or the loss of the player whose turn it is, and terms.

    With d the discriminator's output, d_p on real and d_q on fake data, and σ the logistic function:

    ============= ==================================== ======================
    loss          the discriminator's                  the generator's
    ============= ==================================== ======================
    absolute      ½ E[1 − σ(d_p)] + ½ E σ(d_q)         −½ E σ(d_q)
    cross-entropy E log(1+e^−d_p) + E log(1+e^d_q)     E log(1 + e^−d_q)
    minimax       E log(1+e^−d_p) + E log(1+e^d_q)     −E log(1 + e^d_q)
    least-squares ½ E (d_p − 1)² + ½ E d_q²            ½ E (d_q − 1)²
    hinge         E (1 − d_p)₊ + E (1 + d_q)₊          −E d_q
    wasserstein   E d_q − E d_p                        −E d_q
    relativistic  E log(1 + e^(d_q − d_p))             E log(1 + e^(d_p − d_q))
    ============= ==================================== ======================

    The discriminator's loss sees detached samples, and the generator's a discriminator with detached weights,
    so that the gradient of the sum is for each player that of its own loss. What made ``real`` has no
    gradient unless it is a player too (``mirrored``). Buffers of the discriminator, such as running means,
    move in its own loss alone. "cross-entropy" is the game that does not saturate.

    Args:
        discriminator: from samples, shape (n, \*event), and contexts where there are any, to one logit each,
            shape (n,) or (n, 1): the larger, the more it looks real.
        real, fake: samples of shape (n, \*event) and (m, \*event), or tuples of all that the discriminator
            is given. "relativistic" compares pairs: n = m.
        loss: one of the above.
        turn: "discriminator" or "generator" for the loss of one of them, "" for both.
        mirrored: what made ``real`` learns as well, as an encoder: it has the generator's loss with real and
            fake changed, and that is added.

    Returns:
        the scalar, and the terms ``discriminator`` and ``generator``, the losses of who moves, and
        ``accuracy``, where the discriminator moves: the share of its right answers, d > 0 on real and d < 0
        on fake data, with ½ in the place of 0 for least squares; for "wasserstein" and "relativistic", in
        which only differences count, the share of pairs with d_p > d_q.

    Raises:
        ValueError: for another loss, another turn, a discriminator whose output has another shape, or that
            ends in a sigmoid or softmax, as autograd tells, where logits are needed.

    Source: Goodfellow and others (2014), Generative adversarial nets; Mao and others (2017), Least squares
    generative adversarial networks; Lim and Ye (2017), Geometric GAN (hinge); Arjovsky, Chintala and Bottou
    (2017), Wasserstein GAN; Jolicoeur-Martineau (2019), The relativistic discriminator.

    >>> zero, x = nn.Linear(2, 1), torch.zeros(5, 2)
    >>> _ = nn.init.zeros_(zero.weight), nn.init.zeros_(zero.bias)
    >>> _, terms = adversarial_loss(zero, real=x, fake=x)
    >>> {name: round(float(value), 4) for name, value in terms.items()}  # 2 log 2 and log 2
    {'discriminator': 1.3863, 'generator': 0.6931, 'accuracy': 0.0}
    """
    check_loss(loss)
    check_turn(turn)
    check_discriminator(discriminator)
    losses, terms = [], {}
    if turn != "discriminator":
        of_generator = generator_loss(discriminator, real=real, fake=fake, loss=loss, mirrored=mirrored)
        losses.append(of_generator)
        terms["generator"] = of_generator.detach()
    if turn != "generator":
        on_real, on_fake = logits(discriminator, detached(real)), logits(discriminator, detached(fake))
        of_discriminator = discriminator_loss(on_real, on_fake, loss=loss)
        losses.append(of_discriminator)
        own = {"discriminator": of_discriminator.detach()}
        terms = own | terms | {"accuracy": accuracy(on_real, on_fake, loss=loss)}
    return torch.stack(losses).sum(), terms


def discriminator_loss(on_real: Tensor, on_fake: Tensor, *, loss: Loss) -> Tensor:
    """Return a discriminator's loss of its logits, shapes (n,) and (m,)."""
    if loss == "absolute":
        return 0.5 * (1 - on_real.sigmoid()).mean() + 0.5 * on_fake.sigmoid().mean()
    if loss in ("cross-entropy", "minimax"):
        return softplus(-on_real).mean() + softplus(on_fake).mean()
    if loss == "least-squares":
        return 0.5 * (on_real - 1).square().mean() + 0.5 * on_fake.square().mean()
    if loss == "hinge":
        return relu(1 - on_real).mean() + relu(1 + on_fake).mean()
    if loss == "wasserstein":
        return on_fake.mean() - on_real.mean()
    check_pairs(on_real, on_fake)
    return softplus(on_fake - on_real).mean()


def generator_loss(
    discriminator: nn.Module, *, real: Arguments, fake: Arguments, loss: Loss, mirrored: bool = False
) -> Tensor:
    """Return a generator's loss against a discriminator as it stands, as :func:`adversarial_loss` does."""
    on_fake = logits(discriminator, fake, as_it_is=True)
    if loss == "relativistic":
        on_real = logits(discriminator, real if mirrored else detached(real), as_it_is=True)
        check_pairs(on_real, on_fake)
        return softplus(on_real - on_fake).mean()
    found = _generators(on_fake, loss)
    if mirrored:
        on_real = logits(discriminator, real, as_it_is=True)
        found = found + _generators(1 - on_real if loss == "least-squares" else -on_real, loss)
    return found


def _generators(on_fake: Tensor, loss: Loss) -> Tensor:
    if loss == "absolute":
        return -0.5 * on_fake.sigmoid().mean()
    if loss == "cross-entropy":
        return softplus(-on_fake).mean()
    if loss == "minimax":
        return -softplus(on_fake).mean()
    if loss == "least-squares":
        return 0.5 * (on_fake - 1).square().mean()
    return -on_fake.mean()


def accuracy(on_real: Tensor, on_fake: Tensor, *, loss: Loss) -> Tensor:
    """Return the share of right answers, as :func:`adversarial_loss` has it, detached."""
    on_real, on_fake = on_real.detach(), on_fake.detach()
    if loss in COMPARED:
        pairs = min(len(on_real), len(on_fake))
        return (on_real[:pairs] > on_fake[:pairs]).to(on_real).mean()
    middle = 0.5 if loss == "least-squares" else 0.0
    return 0.5 * ((on_real > middle).to(on_real).mean() + (on_fake < middle).to(on_fake).mean())


def logits(discriminator: nn.Module, arguments: Arguments, *, as_it_is: bool = False) -> Tensor:
    r"""Return what a discriminator says of (x, \*context), shape (n,).

    Args:
        discriminator, arguments: who is asked, and of what.
        as_it_is: with a gradient for the arguments alone (:func:`as_it_stands`).

    Raises ValueError where it does not return one number each, or none to learn by.
    """
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    found = as_it_stands(discriminator, *arguments) if as_it_is else discriminator(*arguments)
    rows = len(arguments[0])
    if not isinstance(found, Tensor) or tuple(found.shape) not in ((rows,), (rows, 1)):
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(
            f"the discriminator should return one logit for each of {rows} data, shape ({rows},) or "
            f"({rows}, 1), but returned {got}: let its last layer have one output"
        )
    _refuse_probabilities(found)
    given = torch.is_grad_enabled() and any(part.requires_grad for part in arguments)
    if as_it_is and given and not found.requires_grad:
        raise ValueError(
            "the discriminator's logits should have a gradient for what it is given, by which the other "
            "player learns, but have none: let it not detach or round that"
        )
    return found.reshape(rows)


def _refuse_probabilities(found: Tensor) -> None:
    """Raise for an output that autograd knows to be that of a sigmoid or softmax."""
    made_by, name = found.grad_fn, RESHAPING[0]
    while made_by is not None and name in RESHAPING:
        name = made_by.name().rstrip("0123456789").removesuffix("Backward")
        made_by = made_by.next_functions[0][0]
    if name in PROBABILITIES:
        raise ValueError(
            f"the discriminator should return logits, from −∞ to ∞, but ends in {name}: leave out that layer"
        )


def as_it_stands(critic: nn.Module, *arguments: Tensor) -> Tensor:
    """Return what a critic says, with a gradient for its arguments alone: nothing of its own moves."""
    frozen = {name: weight.detach() for name, weight in critic.named_parameters()}
    frozen |= {name: buffer.clone() for name, buffer in critic.named_buffers()}
    return functional_call(critic, frozen, arguments)


def detached(arguments: Arguments) -> Arguments:
    """Return arguments without what made them."""
    if isinstance(arguments, Tensor):
        return arguments.detach()
    return tuple(part.detach() for part in arguments)


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


def adam_of_players(
    *discriminators: nn.Module,
    rate: float,
    discriminator: float | None = None,
    betas: tuple[float, float] = (0.0, 0.9),
) -> Callable[[Iterable[nn.Parameter]], torch.optim.Adam]:
    """Return what makes one Adam for both sides of a game, for ``fit(optimizer=...)``.

    Its groups are called "generator" and "discriminator": schedules reach their rates as "lr.generator" and
    "lr.discriminator", and gradients are clipped by player. :meth:`Contest.adam` is that of its model.

    Args:
        discriminators: whose weights are the group "discriminator"; all others are "generator".
        rate: the generator's, and of all that is in no discriminator.
        discriminator: the discriminators', the same if not given.
        betas: of the two means; momentum, the first, makes most games unsteady.

    >>> net, judge = nn.Linear(2, 3), nn.Linear(3, 1)
    >>> adam = adam_of_players(judge, rate=1e-3, discriminator=2e-3)([*net.parameters(), *judge.parameters()])
    >>> [(group["name"], group["lr"], len(group["params"])) for group in adam.param_groups]
    [('generator', 0.001, 2), ('discriminator', 0.002, 2)]
    """
    rates = {"generator": rate, "discriminator": rate if discriminator is None else discriminator}

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        own = {id(weight) for net in discriminators for weight in net.parameters()}
        sides: dict[str, list[nn.Parameter]] = {"generator": [], "discriminator": []}
        for weight in parameters:
            sides["discriminator" if id(weight) in own else "generator"].append(weight)
        groups = [{"params": side, "name": name, "lr": rates[name]} for name, side in sides.items()]
        return torch.optim.Adam(groups, betas=betas, fused=True)

    return make


def check_loss(loss: str) -> None:
    """Raise unless there is such a loss."""
    if loss not in get_args(Loss):
        raise ValueError(f"loss should be {' or '.join(map(repr, get_args(Loss)))} but got {loss!r}")


def check_turn(turn: str) -> None:
    """Raise unless it is a player's turn, or that of both."""
    if turn not in ("", "discriminator", "generator"):
        raise ValueError(f"turn should be 'discriminator', 'generator', or '' for both, but is {turn!r}")


def check_pairs(on_real: Tensor, on_fake: Tensor) -> None:
    """Raise unless there are as many fake data as real ones."""
    if len(on_real) != len(on_fake):
        raise ValueError(
            "the relativistic loss compares each real datum with a fake one, so there should be as many, but "
            f"there are {len(on_real)} real and {len(on_fake)} fake ones"
        )


def check_discriminator(discriminator: nn.Module) -> None:
    """Raise for what is no module."""
    if not isinstance(discriminator, nn.Module):
        raise TypeError(f"discriminator should be a torch module but is a {type(discriminator).__name__}")
