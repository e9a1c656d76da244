"""A classifier of few pictures and synthetic ones, and a judge of labels that has learned from all."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probgen.applications.frame.study import Study
from probgen.applications.parts.features.codings import MOVES
from probgen.core import seeded
from probgen.nets import ClassHead, RandomAffine
from probgen.objectives import Classification
from probgen.recipes import Task
from probgen.recipes.semi_supervised_vae import of_moved_pictures

COST = 5.0
"""C of the support vector machine."""


class Pictures(NamedTuple):
    """Pictures (n, pixels), their labels, and how much each counts, 1 where it is not given."""

    x: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def and_(self, others: Pictures) -> Pictures:
        """Return these pictures and others."""
        weights = [torch.ones(len(p.x)) if p.weights is None else p.weights.cpu() for p in (self, others)]
        return Pictures(
            torch.cat([self.x, others.x]), torch.cat([self.labels, others.labels]), torch.cat(weights)
        )

    def drawn(self, count: int) -> Pictures:
        """Return so many of these pictures, with replacement, the classes in turn."""
        classes = self.labels.unique()
        wanted = classes[torch.arange(count, device=self.x.device) % len(classes)]
        same = (self.labels[None, :] == wanted[:, None]).float()
        places = torch.multinomial(same, 1)[:, 0] if count else wanted
        return Pictures(self.x[places], self.labels[places])

    def moved(self, image_shape: tuple[int, int]) -> Pictures:
        """Return these pictures, each turned, sheared, scaled and shifted at random."""
        return self._replace(x=RandomAffine(image_shape, **MOVES)(self.x))


class SupportVectors:
    r"""A support vector machine with the kernel exp(−γ ‖x − x'‖²), 1/γ the summed variance of the pixels.

    That is scikit-learn's SVC with ``gamma="scale"``, whose distances are taken by torch.

    >>> known = Pictures(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.9, 0.1]]), torch.tensor([0, 1, 1]))
    >>> SupportVectors(known).told(known.x)
    tensor([0, 1, 1])
    """

    def __init__(self, known: Pictures) -> None:
        from sklearn.svm import SVC

        self.x = known.x
        self.gamma = 1 / (known.x.shape[1] * float(known.x.var(correction=0)))
        weights = None if known.weights is None else known.weights.numpy().astype(np.float64)
        self.machine = SVC(C=COST, kernel="precomputed", decision_function_shape="ovr")
        self.machine.fit(self._kernel(known.x), known.labels.cpu().numpy(), sample_weight=weights)

    def told(self, x: Tensor) -> Tensor:
        """Return the classes of pictures."""
        found = [torch.from_numpy(self.machine.predict(self._kernel(part))) for part in x.split(2000)]
        return torch.cat(found).to(x.device)

    def scores(self, x: Tensor) -> Tensor:
        """Return a score of each class, the highest where it is told, shape (n, classes)."""
        found = [
            torch.from_numpy(self.machine.decision_function(self._kernel(part))) for part in x.split(2000)
        ]
        scores = torch.cat(found).to(x.device)
        if scores.dim() == 1:
            scores = torch.stack([-scores, scores], 1)
        full = scores.new_full((len(x), int(self.machine.classes_.max()) + 1), -torch.inf)
        full[:, torch.from_numpy(self.machine.classes_).to(x.device)] = scores
        return full

    def _kernel(self, x: Tensor) -> np.ndarray:
        return torch.exp(-self.gamma * torch.cdist(x, self.x).square()).double().cpu().numpy()


class Judge(nn.Module):
    """A network of convolutions that has learned from all labels, which no method is given.

    It says which synthetic pictures have a wrong label; the share of held-out real ones that it takes for
    wrong is what it errs by on pictures that it has not learned, such as draws.
    """

    def __init__(self, image_shape: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.classifier = ClassHead(of_moved_pictures(image_shape, classes))

    @torch.no_grad()
    def wrong(self, pictures: Pictures) -> float:
        """Return the share of pictures whose label is not the most probable class."""
        found = torch.cat([self.classifier(part).logits.argmax(1) for part in pictures.x.split(1000)])
        return float((found != pictures.labels).double().mean())


def trained_judge(study: Study, task: Task, classes: int) -> Judge:
    """Return the judge, trained on all rows of the task that have a label."""
    assert task.image_shape is not None
    with seeded(study.seed):
        judge = Judge(task.image_shape, classes).to(task.device)
    assert task.train.labels is not None
    known = task.train.labels >= 0
    study.fit(
        "judge",
        Classification(judge),
        (task.train.smooth[known], task.train.labels[known]),
        seed=study.seed,
        steps=study.pick(full=1500, quick=300, tiny=2),
        batch_size=128,
        optimizer=partial(torch.optim.Adam, lr=2e-3, fused=True),
    )
    return judge.eval()
