"""State that is more than dense tensors: trained, saved, resumed, the best of it kept; or refused."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.training import checkpoint, fit
from probgen.training.processes import Processes


class Counting(nn.Linear):
    """A layer whose extra state is how often it has learned, and a moving tensor."""

    def __init__(self):
        super().__init__(2, 2)
        self.seen = {"count": 0, "mean": torch.zeros(2)}

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


class Holder(Objective):
    def __init__(self, buffer=None, part=None, use=None):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.part, self.use = part, use
        self.register_buffer("held", buffer)

    def forward(self, *batch: Tensor):
        loss = (batch[0] - self.w).square().sum(1).mean()
        if self.use is not None:
            loss = loss + self.use(self.held, self.w)
        return loss, {}


KINDS = {
    "empty": lambda: Holder(torch.zeros(0)),
    "empty rows": lambda: Holder(torch.zeros(0, 3)),
    "sparse": lambda: Holder(torch.eye(2).to_sparse(), use=lambda m, w: (m @ w[:, None]).square().sum()),
    "complex": lambda: Holder(torch.tensor([1j, 2.0]), use=lambda z, w: (z * w).abs().sum()),
    "complex128": lambda: Holder(torch.ones(2, dtype=torch.complex128).mul(1j).conj()),
    "boolean": lambda: Holder(torch.tensor([True, False])),
    "bfloat16": lambda: Holder(torch.ones(2, dtype=torch.bfloat16)),
    "transposed": lambda: Holder(torch.arange(6.0).reshape(2, 3).T),
    "extra state": lambda: Holder(part=Counting()),
}


def x_of(n=40):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("kind", KINDS)
def test_such_state_trains_saves_resumes_and_keeps_the_best(kind, mode, tmp_path):
    def train(epochs, **options):
        torch.manual_seed(0)
        holder = KINDS[kind]()
        fit(
            holder, x_of(), epochs=epochs, batch_size=20, validation=x_of(), patience=9, seed=0,
            compile=mode, progress=False, **options,
        )  # fmt: skip
        return holder

    whole = train(4)
    train(2, checkpoint=tmp_path)
    resumed = train(4, checkpoint=tmp_path, resume=True)
    assert torch.equal(whole.w, resumed.w)
    fresh = KINDS[kind]()
    checkpoint.load_weights(tmp_path, fresh)
    made = KINDS[kind]()
    if made.held is not None:
        dense = [buffer.to_dense() if buffer.is_sparse else buffer for buffer in (fresh.held, made.held)]
        assert torch.equal(*dense)
        assert fresh.held.dtype == made.held.dtype


def test_extra_state_is_that_of_the_best_weights_and_of_the_last(tmp_path):
    class Moving(Holder):
        def forward(self, *batch):
            if self.training:
                self.part.seen["count"] += 1
                self.part.seen["mean"] += 1
            return super().forward(*batch)

    held_out = torch.zeros(8, 2)  # the first report is the best one
    x = torch.full((8, 2), 3.0)
    objective = Moving(part=Counting())
    history = fit(
        objective, x, epochs=9, validation=held_out, patience=3, checkpoint=tmp_path, compile="eager", seed=0,
        progress=False,
    )  # fmt: skip
    assert history.step == 4
    assert objective.part.seen["count"] == 1
    assert objective.part.seen["mean"].tolist() == [1, 1]
    last = Moving(part=Counting())
    checkpoint.load_weights(tmp_path, last, name="last")
    assert last.part.seen["count"] == 4
    assert last.part.seen["mean"].tolist() == [4, 4]


def test_buffers_that_are_filled_by_the_way_are_resumed_and_put_back(tmp_path):
    class Filled(Holder):
        def forward(self, *batch):
            if self.training:
                rows = 2 if self.held is None or not len(self.held) else len(self.held) + 1
                self.held = torch.full((rows,), float(rows))
            return super().forward(*batch)

    for empty in (None, torch.zeros(0)):
        folder = tmp_path / str(empty is None)
        options = {"checkpoint": folder, "compile": "eager", "progress": False, "seed": 0}
        filled = Filled(empty)
        history = fit(filled, x_of(8) + 3, epochs=9, validation=torch.zeros(8, 2), patience=3, **options)
        last = Filled(empty)
        checkpoint.load_weights(folder, last, name="last")
        assert history.step == 4
        assert len(last.held) == len(filled.held) + 3
    resumed = Filled(torch.zeros(0))
    fit(resumed, x_of(8), epochs=3, checkpoint=tmp_path / "2", compile="eager", progress=False)
    more = Filled(torch.zeros(0))
    fit(more, x_of(8), epochs=4, checkpoint=tmp_path / "2", resume=True, compile="eager", progress=False)
    assert len(more.held) > len(resumed.held)


def test_sparse_state_is_refused_where_processes_share_it():
    several = Processes()
    several.world = 2
    with pytest.raises(ValueError, match="should be dense in a training of several processes"):
        several.share([torch.ones(2), torch.eye(2).to_sparse()])


class Odd(Counting):
    def get_extra_state(self):
        return {"file": print}


@pytest.mark.parametrize(
    ("holder", "error", "sentence"),
    [
        (
            lambda: Holder(torch.ones(1).expand(5)),
            ValueError,
            r"buffer 'held' .* expanded: make it with .exp",
        ),
        (lambda: Holder(torch.ones(2, 1).expand(2, 3)), ValueError, r"buffer 'held' .* is expanded"),
        (lambda: Holder(part=Odd()), TypeError, r"extra state 'part._extra_state' should be made of tensors"),
    ],
    ids=["expanded", "expanded columns", "a function"],
)
def test_state_that_cannot_be_put_back_is_refused_up_front(holder, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        fit(holder(), x_of(), epochs=1, checkpoint=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
