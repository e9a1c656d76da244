"""What a draw tells of its code: a recogniser guesses it, and the generator helps (InfoGAN)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import pyro
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from probgen.core import GenerativeModel, Objective, Terms
from probgen.data.missing import check_labels
from probgen.nets import OneHot
from probgen.nets.checks import classes_of
from probgen.nets.concatenated import Concatenated, one_hots


class MutualInformation(Objective):
    r"""−E log Q(c | G(z)), c the first coordinates of the noise z: what the draws do not tell of their code.

    With the entropy of the code, H(c) + E log Q(c | x) ≤ I(c; x), for draws x = G(z), and equal for
    Q = p(c | x). Both the generator and the recogniser Q minimise the loss; the discriminator has no part in
    it. It is made to be added to a contest: InfoGAN is
    ``Sum({"contest": Contest(gan), "information": MutualInformation(gan, recogniser)})``, where the weight of
    "information" is λ. It has draws of its own.

    With ``of="label"`` c is the label of the batch that the draw was given, and Q a classifier, learned from
    draws. Beside a :class:`Contest` and a :class:`Classification`, by which the same classifier learns from
    data, this is the game of an auxiliary classifier (AC-GAN). Its generator is paid for draws that are easy
    to tell, not for true ones: it moves classes that overlap apart, which ``nets.ProjectionDiscriminator``
    does not.

    A recogniser that shares layers with the discriminator, as in the papers, moves them as its own.

    Terms: ``information``, the bound H(c) + E log Q in nats; of a label, whose law is not known,
    ``log_probability``, E log Q. Weights are not judged by it: what is told most clearly need not look like
    data.

    Args:
        model: a ``models.GAN``; its noise a ``priors.SideBySide`` of the code's parts and of others.
        recogniser: from draws to the law of their codes: ``nets.CodeHead(net, categories=10, continuous=2)``,
            or ``nets.NormalHead(net)``; of a label ``nets.ClassHead(net)``.
        of: "noise" or "label".

    Raises:
        TypeError: for a model that has no noise of its own, noise that does not come in parts, a recogniser
            that returns no law, or of a label one that is no classifier.
        ValueError: for a recogniser of another size or other classes than the code has, a categorical code
            of one class, and labels that are missing.

    Source: Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel (2016), InfoGAN; Odena, Olah and Shlens
    (2017), Conditional image synthesis with auxiliary classifier GANs; Gong, Xu, Li, Zhang and Batmanghelich
    (2019), Twin auxiliary classifiers GAN (the bias).

    >>> import pyro.distributions as dist
    >>> import torch
    >>> from probgen import models, nets, priors
    >>> noise = priors.SideBySide(dist.OneHotCategorical(torch.ones(3)), 2)
    >>> gan = models.GAN(nets.MLP(5, 2), nets.MLP(2, 1), noise=noise)
    >>> _, terms = MutualInformation(gan, nets.CodeHead(nets.MLP(2, 3), categories=3))(torch.randn(20, 2))
    >>> list(terms)
    ['information']
    """

    is_game = True

    def __init__(
        self, model: GenerativeModel, recogniser: nn.Module, *, of: Literal["noise", "label"] = "noise"
    ) -> None:
        super().__init__()
        if not hasattr(model, "noise") or not hasattr(model, "generate"):
            raise TypeError(
                f"model should have noise and generate(z), as a models.GAN, but is a {type(model).__name__}"
            )
        if of not in ("noise", "label"):
            raise ValueError(f"of should be 'noise' or 'label' but got {of!r}")
        self.model = cast(Any, model)
        self.recogniser = recogniser
        self.one_hot = OneHot(classes_of(recogniser), missing=False) if of == "label" else None

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return −E log Q of as many draws as there are data, and the term."""
        x, *context = batch
        law = self.model.noise(*context)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", law)
        guess = self.recogniser(self.model.generate(z, *context))
        if not isinstance(guess, Distribution):
            raise TypeError(
                "recogniser should return a law of codes, such as nets.CodeHead(net) does, but returned a "
                f"{type(guess).__name__}"
            )
        if self.one_hot is not None:
            if not isinstance(guess, Categorical):
                raise TypeError(
                    "recogniser of a label should return a Categorical, as nets.ClassHead(net) does, but "
                    f"returned a {type(guess).__name__}"
                )
            told = (self.one_hot(_labels(len(x), context)) * guess.logits).sum(-1).mean()
            return -told, {"log_probability": told.detach()}
        code = _code(law, guess, len(x))
        told = guess.log_prob(z[:, : code.event_shape[0]]).mean()
        return -told, {"information": (told + code.entropy().mean()).detach()}

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return None: a code that is told clearly does not say that draws look like data."""
        return None


def _code(law: Any, guess: Distribution, rows: int) -> Concatenated:
    """Return the law of the code, the first parts of the noise: as many coordinates as the recogniser has."""
    if not isinstance(law, Concatenated):
        raise TypeError(
            "the noise of the model should come in parts, a priors.SideBySide of the code and of the rest, "
            f"but is a {type(law).__name__}"
        )
    size = guess.event_shape[0] if len(guess.event_shape) == 1 else 0
    count = next((k for k in range(1, len(law.sizes) + 1) if sum(law.sizes[:k]) == size), 0)
    if not count or guess.batch_shape != (rows,):
        raise ValueError(
            f"recogniser should return a law of the first parts of the noise, which have {law.sizes} "
            f"coordinates, for each of {rows} draws, but returned one of batch shape "
            f"{tuple(guess.batch_shape)} and event shape {tuple(guess.event_shape)}"
        )
    code = Concatenated(law.parts[:count])
    classes = one_hots(code)
    if any(number < 2 for _, number in classes):
        raise ValueError("a categorical code should have at least 2 classes but has 1, which tells nothing")
    if classes != one_hots(guess):
        raise ValueError(
            f"recogniser should guess the classes of the code, {[number for _, number in classes]}, in their "
            f"places, but guesses {[number for _, number in one_hots(guess)]}"
        )
    return code


def _labels(rows: int, context: list[Tensor]) -> Tensor:
    """Return the labels that the draws were given."""
    if not context:
        raise ValueError("a batch should be (x, labels) where of='label' but has no labels")
    check_labels(context[-1], rows)
    return context[-1]
