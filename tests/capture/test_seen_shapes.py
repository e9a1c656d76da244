"""When "auto" captures on a CPU: shapes that were seen often and promise to pay, the same on each run."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, fit
from probgen.capture import captured_loss, modes, replay, seen_shapes
from probgen.capture.seen_shapes import FEWEST, SeenShapes
from probgen.training import Callback


class Noisy(Objective):
    """Dropout, batch normalisation and noise of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))

    def forward(self, *batch: Tensor):
        loss = self.net(batch[0] + torch.randn_like(batch[0])).square().mean()
        return loss, {"square": loss.detach()}


class Stop(Callback):
    """Ends a training after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, objective, history):
        return history.step == self.step


def first(seen, shapes):
    """The numbers, from 1 on, of the first calls for which each shape promises to pay."""
    found = {}
    for number, shape in enumerate(shapes, 1):
        to_come = seen.calls_to_come([torch.empty(shape)])
        if to_come and shape not in found:
            found[shape] = (number, to_come)
    return found


def test_a_shape_pays_once_its_share_of_the_calls_to_come_does():
    assert FEWEST == 32
    assert first(SeenShapes(1000), [4] * 1000) == {4: (32, 968.0)}
    assert first(SeenShapes(532), [4] * 532) == {4: (32, 500.0)}
    assert not first(SeenShapes(531), [4] * 531)
    # Half of the calls to come: 1/2 · 1936 at the 32nd call of each, the 63rd and 64th call in all.
    found = first(SeenShapes(2000), [4, 5] * 1000)
    assert found == {4: (63, 32 / 63 * 1937), 5: (64, 0.5 * 1936)}
    # One in ten: the 32nd call of it is call 320 in all.
    assert first(SeenShapes(6000), ([4] * 9 + [5]) * 600)[5] == (320, 568.0)
    assert 5 not in first(SeenShapes(5000), ([4] * 9 + [5]) * 500)
    assert first(SeenShapes(None), [4] * 40) == {4: (32, float("inf"))}


def test_a_resumed_count_goes_on():
    whole, before, after = SeenShapes(2000), SeenShapes(2000), SeenShapes(2000)
    shapes = [torch.empty(n, 2) for n in (4, 5, 4)] * 100
    expected = [whole.calls_to_come([x, x]) for x in shapes]
    found = [before.calls_to_come([x, x]) for x in shapes[:80]]
    after.load_state_dict(before.state_dict())
    assert found + [after.calls_to_come([x, x]) for x in shapes[80:]] == expected
    assert 0 < sum(x > 0 for x in expected) < 300


@pytest.fixture
def captures(monkeypatch):
    """The shapes of which graphs are made."""
    made, capture = [], captured_loss.capture

    def noted(objective, weights, state, batch, *rest):
        made.append(len(batch[0]))
        return capture(objective, weights, state, batch, *rest)

    monkeypatch.setattr(captured_loss, "capture", noted)
    return made


def trained(mode, **options):
    torch.manual_seed(0)
    objective = Noisy()
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    history = fit(objective, x, batch_size=16, seed=2, compile=mode, progress=False, **options)
    return [*objective.state_dict().values(), torch.tensor(history.values("loss"))]


def test_a_short_training_captures_nothing_and_a_long_one_what_pays(device, captures, monkeypatch):
    """Of 16, 16 and 8 rows; the bits are those of the eager loss."""
    if device.type != "cpu":
        pytest.skip("elsewhere all is captured at once")
    trained("auto", steps=400)
    assert not captures
    monkeypatch.setattr(seen_shapes, "RECORD_CALLS", 100)
    assert all(map(torch.equal, trained("auto", steps=240), trained("eager", steps=240)))
    assert captures == [16]  # 2/3 · 192 to come at the 32nd of these; of 8 rows, 1/3 · 144 at call 96


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_training_has_the_bits_of_one_that_was_never_stopped(
    accumulate, tmp_path, captures, monkeypatch
):
    """Also where the compiled loss has other bits than the eager one, so that it counts when it comes."""
    monkeypatch.setattr(modes, "COMPILE_STEPS", 10)
    monkeypatch.setattr(captured_loss, "COMPILE_CALLS", 60)
    monkeypatch.setattr(seen_shapes, "RECORD_CALLS", 50)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(
        replay, "compiled", lambda graph, inputs: lambda *args: [x * (1 + 1e-6) for x in graph(*args)]
    )
    options = {"accumulate": accumulate, "steps": 170}
    expected = trained("auto", checkpoint=tmp_path / "whole", **options)
    assert len(captures) >= 1
    assert not all(map(torch.equal, expected, trained("eager", checkpoint=tmp_path / "eager", **options)))
    for cut in (20, 90):
        folder = tmp_path / str(cut)
        trained("auto", checkpoint=folder, callbacks=[Stop(cut)], **options)
        found = trained("auto", checkpoint=folder, resume=True, **options)
        assert all(map(torch.equal, expected, found)), cut
