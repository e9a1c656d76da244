"""Held-out data: in batches of the training, to the same number; what is not finite is never best."""

import math
import re

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import models, nets
from probgen.objectives import SVI
from probgen.training import Callback, fit
from tests.pairs import LinearGaussian
from tests.training.test_fit import Square, x_of


class Box(nn.Module):
    """A uniform law, in whose support the held-out data need not lie."""

    def __init__(self):
        super().__init__()
        self.width = nn.Parameter(torch.tensor(3.0))

    def forward(self, z):
        end = (3 + self.width.abs()).expand(len(z), 2)
        return dist.Uniform(-end, end, validate_args=False).to_event(1)


def test_validation_that_is_not_finite_is_said_and_with_patience_refused(caplog, tmp_path):
    x = x_of()[:, :2].clamp(-2, 2)
    held_out = x.clone()
    held_out[5] = 100.0

    def train(**options):
        objective = SVI(models.VAE(nets.NormalHead(nets.MLP(2, 1)), Box()))
        return fit(objective, x, epochs=3, validation=held_out, seed=0, progress=False, **options)

    where = r"at step 2 the term 'reconstruction' is -inf \(model site 'x': its value is 100\.0 at row 5"
    history = train()
    assert history.values("loss", "validation") == [math.inf] * 3
    assert re.search(where, caplog.text)
    assert caplog.text.count("weights judged by such a number are not the best") == 1
    for patience, reports in [(2, 2), (9, 3)]:
        for _ in range(2):  # a resumed run too
            with pytest.raises(ValueError, match=rf"at none of {reports} reports was it finite \({where}"):
                train(patience=patience, checkpoint=tmp_path / str(patience), resume=True)


def test_a_training_that_a_callback_ends_before_a_report_keeps_its_weights():
    class Stop(Callback):
        def on_step_end(self, objective, history):
            return True

    objective = Square()
    history = fit(
        objective, x_of(), epochs=2, batch_size=8, validation=x_of(8), patience=1, callbacks=[Stop()],
        progress=False,
    )  # fmt: skip
    assert history.ended == "stopped early"
    assert objective.location.detach().abs().min() > 0


def test_weights_are_best_again_once_validation_is_finite(caplog):
    class Sometimes(Square):
        def forward(self, *batch):
            loss, terms = super().forward(*batch)
            return (loss, terms) if self.training or float(self.location[0]) > 0.25 else (loss / 0, terms)

    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.15)  # noqa: E731
    history = fit(
        Sometimes(), torch.ones(8, 3), epochs=5, validation=torch.ones(8, 3), patience=3, optimizer=sgd,
        progress=False,
    )  # fmt: skip
    losses = history.values("loss", "validation")
    assert history.ended == "finished"
    assert losses[0] == math.inf
    assert losses[-1] < 1
    assert "at step 1 the term 'loss' is inf" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 20, 64, 500])
def test_validation_takes_batches_of_the_training_to_the_same_number(batch_size):
    seen = []

    class Seen(Square):
        def forward(self, *batch):
            seen.append((self.training, len(batch[0])))
            return super().forward(*batch)

    x, held_out = x_of(batch_size), x_of(2000)
    objective = Seen()
    still = torch.optim.SGD(objective.parameters(), lr=0.0)
    history = fit(
        objective, x, steps=1, batch_size=batch_size, optimizer=still, validation=held_out, progress=False
    )
    expected = float(held_out.double().square().mean())
    assert history.values("loss", "validation") == pytest.approx([expected], rel=1e-6)
    assert max(rows for training, rows in seen if not training) < max(batch_size + 16, 2)


@pytest.mark.parametrize("batch_size", [20, 100, 128])
def test_a_normal_latent_has_the_noise_of_all_rows_at_once(batch_size):
    pair = LinearGaussian()
    numbers = []
    for rows in (batch_size, 1024):
        still = torch.optim.SGD(pair.parameters(), lr=0.0)
        history = fit(
            SVI(pair),
            x_of(50),
            steps=1,
            batch_size=rows,
            optimizer=still,
            validation=x_of(1000),
            progress=False,
        )
        numbers += history.values("reconstruction", "validation")
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)
