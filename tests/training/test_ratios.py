"""Terms that are ratios: of the means, whatever the batches, their parts, reports and lengths."""

import pytest
import torch
from torch import nn

from probgen import Objective
from probgen.core import ratio
from probgen.data import Ragged
from probgen.objectives import Sum
from probgen.training import Callback, fit

LENGTHS = (1, 9, 2, 2, 7, 3, 4)


class PerStep(Objective):
    """Sequences under N(w, 1), w held at 0: nats per datum, and per step."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, *batch):
        padded, lengths = batch
        inside = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        nats = -torch.distributions.Normal(self.w, 1.0).log_prob(padded) * inside
        loss = nats.sum(1).mean()
        return loss, {"nats_per_step": ratio(loss, lengths.double().mean())}


@pytest.fixture
def sequences():
    gen = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=gen, dtype=torch.float64) for n in LENGTHS]


def train(objective, sequences, **options):
    objective = objective.double()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.0)
    rows = Ragged(sequences, bucketed=False)
    return fit(objective, rows, optimizer=optimizer, epochs=1, progress=False, seed=0, **options)


def exact(sequences):
    every = torch.cat(sequences)
    return float(-torch.distributions.Normal(0.0, 1.0).log_prob(every).mean())


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "options", [{"batch_size": 2}, {"batch_size": 3, "accumulate": 2}, {"batch_size": 7}], ids=str
)
def test_a_ratio_is_the_sum_of_nats_over_the_sum_of_steps(options, mode, sequences):
    history = train(PerStep(), sequences, validation=Ragged(sequences), compile=mode, **options)
    for split in ("train", "validation"):
        assert history.values("nats_per_step", split) == pytest.approx([exact(sequences)], rel=1e-12)
    assert {row["term"] for row in history.rows} == {"loss", "nats_per_step"}


def test_a_ratio_of_a_part_of_a_sum(sequences):
    history = train(Sum({"one": PerStep()}), sequences, batch_size=2)
    assert history.values("one/nats_per_step") == pytest.approx([exact(sequences)], rel=1e-12)


def test_a_ratio_goes_on_after_a_resume(tmp_path, sequences):
    class Stop(Callback):
        def on_step_end(self, objective, history):
            return history.step == 2

    train(PerStep(), sequences, batch_size=2, checkpoint=tmp_path, callbacks=[Stop()])
    history = train(PerStep(), sequences, batch_size=2, checkpoint=tmp_path, resume=True)
    assert history.values("nats_per_step") == pytest.approx([exact(sequences)], rel=1e-12)


def test_a_term_of_another_shape_is_named(sequences):
    class Wrong(PerStep):
        def forward(self, *batch):
            return super().forward(*batch)[0], {"three": torch.zeros(3)}

    with pytest.raises(
        ValueError, match=r"the term 'three' of Wrong should be a detached scalar tensor, or a"
    ):
        train(Wrong(), sequences)
