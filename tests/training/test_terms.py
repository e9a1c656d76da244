"""Terms by name: whatever their order and number, in training, validation and after a resume."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.training import Callback, fit
from probgen.training.processes import Processes
from probgen.training.terms_by_name import Tally


class Varied(Objective):
    """(x − w)², with the terms a = 1 and b = 200 in an order and number that depend on the batch."""

    def __init__(self, terms):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.of = terms

    def forward(self, *batch: Tensor):
        (x,) = batch
        values = {"a": torch.tensor(1.0), "b": torch.tensor(200.0), "rows": torch.tensor(float(len(x)))}
        loss = (x - self.w).square().sum(1).mean()
        return loss, {name: values[name] for name in self.of(self.training, len(x))}


def x_of(n):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "terms",
    [
        lambda training, rows: "ab" if training else "ba",
        lambda training, rows: "ab" if rows == 10 else "ba",
        lambda training, rows: "ab" if training else "b",
        lambda training, rows: "ab" if rows == 10 else "b",
        lambda training, rows: "b" if rows == 10 else "ab",
        lambda training, rows: "ab" if rows == 10 else "",
    ],
    ids=["evaluation, order", "order", "evaluation, fewer", "fewer", "more", "none"],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_term_belongs_to_its_name(terms, mode, accumulate):
    history = fit(
        Varied(terms),
        x_of(25),
        epochs=2,
        batch_size=10 * accumulate,
        accumulate=accumulate,
        validation=x_of(30),
        compile=mode,
        progress=False,
    )
    for split in ("train", "validation"):
        assert set(history.values("a", split)) <= {1.0}
        assert set(history.values("b", split)) <= {200.0}
    assert history.values("a") or history.values("b")


def test_the_mean_of_a_term_is_over_the_rows_of_the_steps_that_have_it():
    varied = Varied(lambda training, rows: ["rows"] if rows != 10 else [])
    history = fit(varied, x_of(25), epochs=1, batch_size=10, validation=x_of(25), progress=False)
    assert history.values("rows") == [5.0]
    assert history.plot().axes
    always = Varied(lambda training, rows: ["rows"])
    history = fit(always, x_of(25), epochs=1, batch_size=10, progress=False)
    assert history.values("rows") == [(10 * 10 + 10 * 10 + 5 * 5) / 25]
    parts = fit(always, x_of(25), epochs=1, batch_size=10, accumulate=2, progress=False)
    assert parts.values("rows") == pytest.approx([(4 * 5 * 5 + 3 * 3 + 2 * 2) / 25])


def test_terms_are_kept_over_a_resume_to_the_same_record(tmp_path):
    class Stop(Callback):
        def on_step_end(self, objective, history):
            return history.step == 4

    def train(folder, **options):
        varied = Varied(lambda training, rows: ["b", "rows"] if rows == 10 else ["rows", "a"])
        return fit(
            varied, x_of(25), epochs=2, batch_size=10, accumulate=1, max_gradient_norm=1.0, seed=0,
            checkpoint=folder, progress=False, **options,
        )  # fmt: skip

    whole = train(tmp_path / "whole")
    assert set(whole.values("b")) == {200.0}
    train(tmp_path / "cut", callbacks=[Stop()])
    assert train(tmp_path / "cut", resume=True).rows == whole.rows


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_term_called_as_one_of_fit_is_refused(name):
    class Own(Varied):
        def forward(self, *batch):
            loss, _ = super().forward(*batch)
            return loss, {name: loss.detach()}

    with pytest.raises(ValueError, match=f"a term should not be called '{name}', which fit reports itself"):
        fit(Own(lambda training, rows: "a"), x_of(5), steps=1, progress=False)


def test_a_term_by_which_weights_are_judged_and_that_is_missing_is_named():
    class Judged(Varied):
        def judge(self, terms):
            return terms["a"]

    judged = Judged(lambda training, rows: "a" if training else "b")
    with pytest.raises(ValueError, match="Judged is judged by the term 'a', which the report of step 1 does"):
        fit(judged, x_of(5), steps=1, validation=x_of(5), progress=False)


def test_the_first_step_that_is_not_finite_is_found_by_name():
    tally = Tally()
    tally.add(1, ("loss", "a"), torch.tensor([1.0, 2.0]), 3)
    tally.add(2, ("b", "loss"), torch.tensor([torch.inf, 1.0]), 3)
    tally.add(2, ("loss",), torch.tensor([4.0]), 1)
    table = tally.table(2, Processes(), torch.device("cpu"))
    assert table.not_finite() == (2, {"loss": 7 / 4, "b": torch.inf})
    assert table.means() == {"loss": (3 + 3 + 4) / 7, "a": 2.0, "b": torch.inf}
