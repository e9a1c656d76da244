r"""The contest of a generator and a discriminator: implicit models learned without a distance of laws."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from probgen.core import Coded, GenerativeModel, Objective, Terms, check_count
from probgen.mmd import Energy, mmd2_loss
from probgen.objectives.adversarial import (
    PENALISED,
    Loss,
    accuracy,
    adam_of_players,
    check_discriminator,
    check_loss,
    discriminator_loss,
    generator_loss,
    lazy_turns,
    logits,
)
from probgen.objectives.gradient_penalties import between, norms, squared_slopes
from probgen.objectives.held_out_contest import gradient_at_draws, spread

DRAWS = 1024
"""Fewest draws by which weights are judged, so many for each datum."""

Side = tuple[Tensor, ...]
"""What the discriminator is given of one side, real or fake."""


class Contest(Objective):
    r"""A game in one scalar, so that one optimizer trains both players, each by the gradient of its own loss.

    The losses are those of :func:`adversarial_loss`. To the discriminator's are added, where their weights
    are not 0, R1 = γ/2 E‖∇d(x)‖² on data, R2 = γ/2 E‖∇d(y)‖² on draws, and λ E (‖∇d(t)‖ − 1)² at points t
    between (:mod:`probgen.objectives.gradient_penalties`); a context is held fast in ∇d. The weights are
    buffers ``r1``, ``r2`` and ``slope``, which a schedule can anneal: ``schedules={"r1": ...}``. γ is for
    data of standard deviation 1; on data of deviation s, γ s² means the same. Layers of spectral norm 1 are
    made by ``torch.nn.utils.parametrizations.spectral_norm``; in evaluation mode they stay as they are.

    Losses of a game do not say how good its weights are. In evaluation mode the loss, and the term
    ``energy``, is the unbiased squared energy distance of the batch from as many draws, 1,024 at least, by
    which weights are judged on validation data. From the other terms of held-out data, ``history.diagnose()``
    tells whether the game is sound: ``spread``, how varied draws are beside data, of the same label where
    there are labels (1 where they are alike), ``gradient``, the mean length of the gradient of the
    generator's loss at a draw, and ``accuracy``.

    Terms: ``discriminator``, ``generator`` and ``accuracy`` as :func:`adversarial_loss` has them; ``r1`` and
    ``r2``, the means of ‖∇d‖² without γ, and ``slope``, that of ‖∇d(t)‖.

    Args:
        model: a ``models.GAN``, or another with a ``discriminator`` and ``contestants(x, \*context)``. Of one
            with codes (:class:`probgen.Coded`), such as a ``models.BiGAN``, what makes the real pairs learns
            too.
        loss: as :func:`adversarial_loss` takes it.
        r1, r2: γ of the penalties on data and on draws.
        slope: λ of the penalty between them.
        penalty_every: penalties are computed in each k-th step of the discriminator only, times k
            (:func:`lazy_turns`).
        discriminator_steps: steps of the discriminator for each of the generator; with None both move at
            once.
        pack: the discriminator judges so many data at once, side by side in their first dimension: (n, d)
            becomes (n/pack, pack · d), so that a lack of variety shows. A batch should divide by it; of the
            last one of an epoch :func:`probgen.fit` leaves out what is over.
        average: the decay per step of averaged weights of the generator, 0.995 say, which draw in evaluation
            mode. They start as a plain mean, until this decay forgets less. Running means of the average are
            its own.

    Raises:
        ValueError: for weights of penalties that are negative or not finite, counts below 1, an average
            outside of [0, 1), lazy penalties without a penalty, a penalty with batch normalisation, batches
            that do not divide into packs, and what :func:`adversarial_loss` refuses.
        TypeError: for a model that has no contestants.

    Source: Goodfellow and others (2014); Lin, Khetan, Fanti and Oh (2018), PacGAN; Yazıcı and others (2019),
    The unusual effectiveness of averaging in GAN training; Huang, Gokaslan, Kuleshov and Tompkin (2024), The
    GAN is dead; long live the GAN (relativistic with R1 and R2).

    >>> from probgen import models, nets
    >>> gan = models.GAN(nets.MLP(4, 2), nets.MLP(2, 1), noise=4)
    >>> _, terms = Contest(gan, r1=0.1, r2=0.1)(torch.randn(20, 2))
    >>> list(terms)
    ['discriminator', 'generator', 'accuracy', 'r1', 'r2']
    """

    least_rows = 2
    is_game = True
    moved: Tensor

    def __init__(
        self,
        model: GenerativeModel,
        *,
        loss: Loss = "relativistic",
        r1: float = 0.0,
        r2: float = 0.0,
        slope: float = 0.0,
        penalty_every: int = 1,
        discriminator_steps: int | None = None,
        pack: int = 1,
        average: float | None = None,
    ) -> None:
        super().__init__()
        discriminator = getattr(model, "discriminator", None)
        if not isinstance(discriminator, nn.Module) or not hasattr(model, "contestants"):
            raise TypeError(
                "model should have a discriminator and contestants, as a models.GAN, but is a "
                f"{type(model).__name__}"
            )
        check_loss(loss)
        check_discriminator(discriminator)
        self.model = cast(Any, model)
        self.loss = loss
        self.penalty_every = check_count("penalty_every", penalty_every)
        self.pack = check_count("pack", pack)
        self.least_rows, self.row_multiple = max(2, self.pack), self.pack

        # The weights of penalties, those that have a part in the loss.
        weights = {"r1": r1, "r2": r2, "slope": slope}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} should be finite and not negative but got {weight}")
            if weight > 0:
                self.register_buffer(name, torch.tensor(float(weight)))
        self._penalties = tuple(name for name, weight in weights.items() if weight > 0)
        if self._penalties and any(isinstance(part, _BatchNorm) for part in discriminator.modules()):
            raise ValueError(
                f"a discriminator should have no batch normalisation where {self._penalties[0]} penalises "
                "its slope, since what it says of one datum then depends on the others: take nn.LayerNorm"
            )
        if self.penalty_every > 1 and not self._penalties:
            raise ValueError(
                f"penalty_every={self.penalty_every} should go with a penalty, r1, r2 or slope, but all are 0"
            )

        # Who moves, and in which turns there are penalties.
        if discriminator_steps is not None:
            steps = check_count("discriminator_steps", discriminator_steps)
            self.turns = ("discriminator",) * steps + ("generator",)
        self.turns = lazy_turns(self.turns, player=self.turns[0], every=self.penalty_every)

        # Averages of weights, in the model, so that it draws by them.
        self.average = average
        if average is not None:
            if not 0 <= average < 1:
                raise ValueError(f"average should be a decay in [0, 1), such as 0.995, but got {average}")
            for name, averaged in self.model.averages.items():
                kept = copy.deepcopy(model.get_submodule(name)).requires_grad_(False)
                setattr(model, averaged, kept)
            self.register_buffer("moved", torch.zeros((), dtype=torch.int64))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the losses of who moves, and the terms; in evaluation mode, what held-out data say."""
        if not self.training:
            return self._held_out(batch)
        player = self.turn.removesuffix(PENALISED)
        real, fake = self.model.contestants(*batch)
        self._check_sides(real, fake)
        # What both sides share is context: it is given, and the slope is that of the rest.
        moves = [one is not other for one, other in zip(real, fake, strict=True)]
        real, fake = (tuple(map(self._packed, side)) for side in (real, fake))
        losses, terms = [], {}
        if player != "discriminator":
            mirrored = isinstance(self.model, Coded)
            of_generator = generator_loss(
                self.model.discriminator, real=real, fake=fake, loss=self.loss, mirrored=mirrored
            )
            losses.append(of_generator)
            terms["generator"] = of_generator.detach()
            learns = any(
                weight.requires_grad
                for name, weight in self.model.named_parameters()
                if not name.startswith("discriminator.")
            )
            if learns and torch.is_grad_enabled() and not of_generator.requires_grad:
                raise ValueError(
                    "draws should have a gradient for the weights of the generator but have none: let them "
                    "not be discrete or detached"
                )
        if player != "generator":
            penalties = self._penalties if self.penalty_every == 1 or player != self.turn else ()
            of_discriminator, own = self._of_discriminator(real, fake, moves, penalties)
            losses += of_discriminator
            terms = {"discriminator": own.pop("discriminator")} | terms | own
        return torch.stack(losses).sum(), terms

    def _check_sides(self, real: Side, fake: Side) -> None:
        """Raise where draws are of another shape than data, or averaged weights would be left behind."""
        for one, other in zip(real, fake, strict=True):
            if one.shape != other.shape:
                raise ValueError(
                    f"draws of the generator should have the shape of the data, {tuple(one.shape)}, but have "
                    f"{tuple(other.shape)}"
                )
        averages = getattr(self.model, "averages", {})
        left = [name for name in averages.values() if getattr(self.model, name) is not None]
        if left and self.average is None:
            raise ValueError(
                f"{left[0]!r} holds averaged weights of another contest, which this one would not move: give "
                "average=, or set it to None in the model"
            )

    def _held_out(self, batch: Side) -> tuple[Tensor, Terms]:
        """Return the energy distance of draws to held-out data, and what tells whether the game is sound."""
        real, fake = self.model.contestants(*batch)
        x, y = real[0], fake[0]
        # Of few data many draws each: by as many as data the chance of a draw would choose the weights.
        others = [self.model.contestants(*batch)[1][0] for _ in range(1, math.ceil(DRAWS / len(x)))]
        drawn = torch.cat([y, *others])
        distance = mmd2_loss(x.double(), drawn.double(), Energy()).to(y.dtype)
        terms = {"energy": distance.detach()}
        context = [one for one, other in zip(real, fake, strict=True) if one is other]
        varied = spread(x, y, *context)
        if varied is not None:
            terms["spread"] = varied
        # What the discriminator says of both, and what the generator is told by it.
        rows, discriminator = len(x) - len(x) % self.pack, self.model.discriminator
        with torch.enable_grad():
            draws = y[:rows].detach().requires_grad_()
            real = tuple(self._packed(part[:rows]) for part in real)
            fake = (self._packed(draws), *(self._packed(part[:rows]) for part in fake[1:]))
            told = generator_loss(discriminator, real=real, fake=fake, loss=self.loss)
            terms["gradient"] = gradient_at_draws(told, draws) / self.pack
        on_real, on_fake = logits(discriminator, real), logits(discriminator, fake)
        return distance, terms | {"accuracy": accuracy(on_real, on_fake, loss=self.loss)}

    @torch.enable_grad()
    def _of_discriminator(
        self, real: Side, fake: Side, moves: Sequence[bool], penalties: Sequence[str]
    ) -> tuple[list[Tensor], Terms]:
        """Return the discriminator's loss and its penalties, and the terms."""
        discriminator = self.model.discriminator
        # Its logits, with a gradient for the points where their slopes are penalised.
        real, real_points = _held(real, moves, graph="r1" in penalties)
        fake, fake_points = _held(fake, moves, graph="r2" in penalties)
        on_real, on_fake = logits(discriminator, real), logits(discriminator, fake)
        loss = discriminator_loss(on_real, on_fake, loss=self.loss)
        losses = [loss]
        terms = {"discriminator": loss.detach(), "accuracy": accuracy(on_real, on_fake, loss=self.loss)}
        # The penalties, as much at once as they would be in the steps that leave them out.
        for name, on_points, points in (("r1", on_real, real_points), ("r2", on_fake, fake_points)):
            if name in penalties:
                squared = squared_slopes(on_points, points).mean()
                losses.append(0.5 * self.penalty_every * self.get_buffer(name) * squared)
                terms[name] = squared.detach()
        if "slope" in penalties:
            points = [point.requires_grad_() for point in between(real_points, fake_points)]
            others = iter(points)
            given = tuple(next(others) if own else part for part, own in zip(real, moves, strict=True))
            slopes = norms(squared_slopes(logits(discriminator, given), points))
            losses.append(self.penalty_every * self.get_buffer("slope") * (slopes - 1).square().mean())
            terms["slope"] = slopes.detach().mean()
        return losses, terms

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the energy distance to held-out data; None in training, where the losses tell nothing."""
        return terms.get("energy")

    def after_step(self) -> None:
        """Move the averages of the generator's weights, where the generator has moved."""
        if self.average is None or self.turn.removesuffix(PENALISED) == "discriminator":
            return
        self.moved += 1
        share = torch.clamp(1.0 / self.moved.double(), min=1.0 - self.average)
        for name, averaged in self.model.averages.items():
            kept, moving = self.model.get_submodule(averaged), self.model.get_submodule(name)
            for mean, weight in zip(kept.parameters(), moving.parameters(), strict=True):
                mean.lerp_(weight.detach(), share.to(mean))
            # Buffers are no mean but as they are now, running means of the average's own excepted.
            own = {place for place, part in kept.named_modules() if isinstance(part, _NormBase)}
            for place, buffer in kept.named_buffers():
                if place.rpartition(".")[0] not in own and "parametrizations" not in place:
                    buffer.copy_(moving.get_buffer(place))

    def adam(
        self, rate: float, *, discriminator: float | None = None, betas: tuple[float, float] = (0.0, 0.9)
    ) -> Callable[[Iterable[nn.Parameter]], torch.optim.Adam]:
        """Return what makes one Adam for both players, for ``fit(optimizer=contest.adam(1e-3))``.

        Its groups, rates and betas are those of :func:`adam_of_players`.
        """
        return adam_of_players(self.model.discriminator, rate=rate, discriminator=discriminator, betas=betas)

    def _packed(self, part: Tensor) -> Tensor:
        """Return data side by side in packs: (n, d, ...) as (n/pack, pack · d, ...)."""
        if self.pack == 1:
            return part
        if len(part) % self.pack:
            raise ValueError(
                f"a batch should divide into packs of {self.pack} but has {len(part)} rows: choose a "
                f"batch_size that is a multiple of {self.pack}"
            )
        packs = len(part) // self.pack
        return part.reshape(packs, -1) if part.dim() == 1 else part.reshape(packs, -1, *part.shape[2:])


def _held(side: Side, moves: Sequence[bool], *, graph: bool) -> tuple[Side, list[Tensor]]:
    """Return the arguments of a discriminator without what made them, and those that are no context."""
    held = tuple(part.detach().requires_grad_(graph and own) for part, own in zip(side, moves, strict=True))
    return held, [part for part, own in zip(held, moves, strict=True) if own]
