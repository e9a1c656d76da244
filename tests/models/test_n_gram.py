"""The n-gram against the formula written out, sums to 1, and draws against its own probabilities."""

import copy
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

import probgen
from probgen import data
from probgen.data import END, PAD
from probgen.data.files import SOURCES, find
from probgen.models import NGram
from probgen.objectives import MaximumLikelihood

SIZE = 5


def sequences(rows=40, seed=0):
    """Return random sequences of 3 symbols that end, (rows, 8)."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.randint(2, SIZE, (rows, 8), generator=gen)
    x = torch.where(torch.rand(rows, 8, generator=gen) < 0.5, x, 2)
    lengths = torch.randint(8, (rows, 1), generator=gen)
    place = torch.arange(8)
    return torch.where(place < lengths, x, torch.where(place == lengths, END, PAD))


def by_hand(x, order, discount):
    """Return p(w | h) by the formula, from counts in dictionaries; the context h is a tuple."""
    counts = [Counter() for _ in range(order + 1)]
    for row in x.tolist():
        told = [SIZE] * (order - 1) + row[: row.index(END) + 1]
        for i in range(order - 1, len(told)):
            counts[order][tuple(told[i - order + 1 : i + 1])] += 1
    for k in range(order, 1, -1):
        counts[k - 1] = Counter(gram[1:] for gram in counts[k])

    def p(w, h, k=order):
        if k == 0:
            return 0.0 if w == PAD else 1 / (SIZE - 1)
        h = h[len(h) - k + 1 :] if k > 1 else ()
        after = {gram: c for gram, c in counts[k].items() if gram[:-1] == h}
        if not after:
            return p(w, h, k - 1)
        rest = max(after.get((*h, w), 0) - discount, 0) + discount * len(after) * p(w, h, k - 1)
        return rest / sum(after.values())

    return p


@pytest.mark.parametrize("order", [1, 2, 4])
def test_it_is_the_formula(order):
    x, new = sequences(), sequences(10, seed=1)
    model = NGram(SIZE, order=order, steps=8, discount=0.7).learn(x)
    p = by_hand(x, order, 0.7)
    found = model.token_log_probs(new)
    for row, own in zip(new.tolist(), found.tolist(), strict=True):
        told = [SIZE] * (order - 1)
        for t, token in enumerate(row[: row.index(END) + 1]):
            context = tuple(told[len(told) - order + 1 :])
            assert own[t] == pytest.approx(math.log(p(token, context)), abs=1e-12)
            told.append(token)
        assert own[row.index(END) + 1 :] == [0.0] * (7 - row.index(END))
    torch.testing.assert_close(model.log_prob(new), found.sum(1))


@pytest.mark.parametrize("ends", [True, False])
def test_probabilities_sum_to_one_after_every_context(ends):
    x = sequences() if ends else sequences().clamp(min=1)
    model = NGram(SIZE, order=3, steps=8, ends=ends).learn(x)
    contexts = np.array(list(itertools.product(range(SIZE + 1), repeat=2)))
    p = model.probabilities(contexts)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert ((p[:, PAD] == 0) == ends).all()
    assert (p[:, 1:] > 0).all()


def test_draws_have_its_probabilities():
    model = NGram(SIZE, order=2, steps=3).learn(sequences())
    draws = model.sample(4000, seed=0)
    assert torch.equal(draws, model.sample(4000, seed=0))
    assert draws.dtype == torch.int64
    rows, counts = draws.unique(dim=0, return_counts=True)
    masses = model.log_prob(rows).exp()
    assert float(masses.sum()) > 0.99
    expected = 4000 * masses
    often = expected > 5
    statistic = float(((counts - expected) ** 2 / expected)[often].sum())
    assert stats.chi2.sf(statistic, int(often.sum()) - 1) > 1e-4  # false alarms 1 in 10,000
    wrong = float(((counts - expected.roll(1)) ** 2 / expected.roll(1))[often.roll(1)].sum())
    assert stats.chi2.sf(wrong, int(often.sum()) - 1) < 1e-4


def test_it_is_judged_as_other_models_are_and_says_what_is_wrong():
    x = sequences()
    model = NGram(SIZE, order=3, steps=8).learn(x)
    loss, terms = MaximumLikelihood(model)(x)
    assert float(loss) == pytest.approx(-float(model.log_prob(x).mean()))
    nats, steps = terms["nats_per_step"].tolist()
    assert steps == pytest.approx(float((x != PAD).sum(1).float().mean()))
    assert nats == pytest.approx(float(loss))
    assert float(model.log_prob(torch.tensor([[END, 2]]))) == -math.inf
    with pytest.raises(ValueError, match="tokens should be from 0 to 4 but go from 0 to 7"):
        model.log_prob(torch.tensor([[7, 0]]))
    with pytest.raises(ValueError, match=r"discount should be in \(0, 1\) but got 1.0"):
        NGram(SIZE, order=2, steps=3, discount=1.0)
    with pytest.raises(ValueError, match="PAD comes after END but row 1 has it before"):
        model.learn(torch.tensor([[2, END], [PAD, END]]))
    with pytest.raises(ValueError, match="should have counted before it is asked"):
        NGram(SIZE, order=2, steps=3).sample(1)


@pytest.mark.skipif(
    find("shakespeare", SOURCES["shakespeare"].files[0]) is None, reason="not on this machine"
)
def test_shakespeare_in_bits_per_character():
    """The figure of another program with these counts, 2.20 at order 6, within its digits."""
    text = data.text()
    model = NGram(text.vocabulary.size, order=6, steps=10, ends=False).learn(text.train[None])
    before_and_test = torch.cat([text.train[-5:], text.test])
    found = -float(model.token_log_probs(before_and_test[None])[0, 5:].mean()) / math.log(2)
    assert found == pytest.approx(2.20, abs=0.006)


def test_what_was_counted_is_kept_in_a_file(tmp_path):
    x = sequences()
    model = NGram(SIZE, order=3, steps=8).learn(x)
    path = probgen.save(model, tmp_path / "counts.pt")
    again = probgen.load(path, NGram(SIZE, order=3, steps=8))
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert torch.equal(copy.deepcopy(model).log_prob(x), model.log_prob(x))
    for other in (
        NGram(SIZE, order=2, steps=8),
        NGram(SIZE + 2, order=3, steps=8),
        NGram(3, order=3, steps=8),
    ):
        with pytest.raises(
            ValueError, match=r"should be of what was counted, \{'order': 3, 'size': 5, 'ends': T"
        ):
            probgen.load(path, other)
    with pytest.raises(
        ValueError, match=r"'ends': True\}, but is of \{'order': 3, 'size': 5, 'ends': False\}"
    ):
        probgen.load(path, NGram(SIZE, order=3, steps=8, ends=False))
    other = NGram(SIZE, order=2, steps=8).learn(x)
    with pytest.raises(ValueError, match="should be of what was counted"):
        probgen.load(path, other)
    assert torch.equal(copy.deepcopy(other).log_prob(x), other.log_prob(x)), "what is refused changes nothing"
    assert other.get_extra_state()["grams"].shape[1] == 2
    assert torch.equal(
        probgen.load(probgen.save(model, tmp_path / "c.safetensors"), again).log_prob(x), model.log_prob(x)
    )
    empty = probgen.load(probgen.save(NGram(SIZE, order=3, steps=8), tmp_path / "empty.pt"), model)
    with pytest.raises(ValueError, match="should have counted before it is asked"):
        empty.log_prob(x)
