"""Which weights are the best: those that an objective judges so, or the last where it judges none."""

import pytest
import torch

from probgen.objectives import Sum
from probgen.training import fit
from probgen.training.checkpoint import load_weights
from tests.training.test_fit import Square, adam, x_of


class Unjudged(Square):
    """A loss that does not say how good its weights are, as that of a game."""

    def judge(self, terms):
        return None


def test_weights_that_are_not_judged_are_the_last_ones(tmp_path, device):
    x = (x_of(40) + 3.0).to(device)
    objective = Unjudged().to(device)
    options = {"batch_size": 10, "optimizer": adam, "progress": False, "seed": 0}
    fit(objective, x, epochs=10, validation=x[:8], checkpoint=tmp_path / "run", **options)
    loaded = Unjudged().to(device)
    assert load_weights(tmp_path / "run", loaded) == 40  # not those of the first report
    assert all(map(torch.equal, objective.parameters(), loaded.parameters()))
    with pytest.raises(ValueError, match="patience needs weights that are judged but Unjudged judges none"):
        fit(Unjudged().to(device), x, epochs=2, validation=x[:8], patience=1, **options)
    watch = Unjudged().to(device)
    sgd = torch.optim.SGD(watch.parameters(), lr=0.1)
    plateau = {"lr": torch.optim.lr_scheduler.ReduceLROnPlateau(sgd)}
    with pytest.raises(ValueError, match="ReduceLROnPlateau needs weights that are judged but Unjudged"):
        fit(watch, x, epochs=2, schedules=plateau, **(options | {"optimizer": sgd}))


def test_a_sum_is_judged_by_those_of_its_parts_that_are():
    both = Sum({"game": Unjudged(), "square": Square()}, weights={"square": 2.0})
    assert both.judge({"loss": 9.0, "game": 1.0, "square": 3.0}) == 6.0
    assert Sum({"game": Unjudged()}).judge({"loss": 9.0, "game": 1.0}) is None
