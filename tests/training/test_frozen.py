"""Parts in evaluation mode, and batches of one row under batch normalisation."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probgen import Objective
from probgen.objectives import Sum
from probgen.training import fit


class Net(Objective):
    def __init__(self, net):
        super().__init__()
        self.net, self.w = net, nn.Parameter(torch.zeros(()))
        self.sizes = []

    def forward(self, *batch: Tensor):
        if self.training:
            self.sizes.append(len(batch[0]))
        return (self.net(batch[0]) - self.w).square().mean(), {}


def x_of(n):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) + 5


def train(objective, x=None, **options):
    options = {"epochs": 1, "batch_size": 16, "compile": "eager", "progress": False} | options
    return fit(objective, x_of(32) if x is None else x, **options)


@pytest.mark.parametrize(
    "part",
    [
        lambda: nn.BatchNorm1d(3, affine=False),
        lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3, affine=False)),
        lambda: nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.BatchNorm1d(3, affine=False)),
    ],
    ids=["batch norm", "in a sequence", "behind frozen weights"],
)
def test_statistics_that_were_put_in_evaluation_mode_stay(part):
    norm = part().eval()
    objective = Net(norm)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    for _ in range(2):  # the first training leaves all of it in evaluation mode
        train(objective, validation=x_of(8))
        assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())
    train(Net(nn.Sequential(norm)))  # in another objective too
    assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())


def test_what_a_training_left_in_evaluation_mode_is_trained_again():
    norm, dropout = nn.BatchNorm1d(3, affine=False), nn.Dropout(0.5)
    net = nn.Sequential(nn.Linear(3, 3), norm, dropout)
    modes = []
    dropout.register_forward_pre_hook(lambda *_: modes.append(dropout.training))
    for count in (2, 4, 6):
        train(Net(net))  # the net is in evaluation mode as a whole
        assert int(norm.num_batches_tracked) == count
    net.train()
    norm.eval()
    train(Net(net))
    assert int(norm.num_batches_tracked) == 6
    norm.train()
    train(Net(net))
    assert int(norm.num_batches_tracked) == 8
    train(Net(net))
    assert int(norm.num_batches_tracked) == 10
    assert all(modes)


def normalised():
    return Net(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))


@pytest.mark.parametrize(
    ("n", "accumulate", "sizes"), [(33, 1, {16}), (34, 1, {16, 2}), (35, 2, {8}), (36, 2, {8, 2})]
)
def test_a_last_batch_of_one_row_under_batch_normalisation_is_left_out(n, accumulate, sizes):
    for sum_of in (False, True):
        objective = normalised()
        whole = Sum({"part": objective}) if sum_of else objective
        train(whole, x_of(n), accumulate=accumulate, validation=x_of(17))
        assert set(objective.sizes) == sizes


def test_batches_known_to_be_too_small_are_refused_before_the_start():
    for x, options, sentence in [
        (x_of(1), {}, r"at least 2 rows, since 'net\.1' normalises by .* but the rows of data are 1"),
        (x_of(9), {"batch_size": 1}, "but batch_size is 1"),
        (x_of(9), {"batch_size": 3, "accumulate": 2}, "at least 4 rows, 2 for each of 2 parts, .* is 3"),
    ]:
        objective = normalised()
        with pytest.raises(ValueError, match=sentence):
            train(objective, x, **options)
        assert not objective.sizes


def test_a_loader_whose_last_batch_has_one_row_is_told_to_drop_it():
    def loader(**options):
        return DataLoader(TensorDataset(x_of(33)), batch_size=16, **options)

    objective = normalised()
    with pytest.raises(ValueError, match="the last batch of the DataLoader has 1: give it drop_last=True"):
        train(objective, loader(), batch_size=None)
    assert not objective.sizes
    assert train(objective, loader(drop_last=True), batch_size=None).step == 2


def test_one_row_will_do_where_no_statistics_are_taken():
    frozen = nn.Sequential(nn.BatchNorm1d(3, affine=False).eval())
    frozen.eval()
    objective = Net(frozen)
    train(objective, x_of(33))
    assert 1 in objective.sizes
    assert 1 in (layered := Net(nn.LayerNorm(3))).sizes or train(layered, x_of(33)).step == 3


def test_statistics_of_the_batch_in_evaluation_leave_out_a_row_of_validation():
    always = Net(nn.BatchNorm1d(3, track_running_stats=False))
    history = train(always, x_of(33), validation=x_of(17))
    assert len(history.values("loss", "validation")) == 1


def test_parts_of_a_batch_are_as_equal_as_can_be():
    objective = normalised()
    train(objective, x_of(13), batch_size=13, accumulate=4)
    assert sorted(objective.sizes) == [3, 3, 3, 4]
