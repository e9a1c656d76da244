"""Brackets and marks that are closed: by all sequences of a length, and read at once or one by one."""

import itertools

import pytest
import torch

from probgen import nets, priors
from probgen.data import END, PAD

# PAD, END, (, ), a, 1, a piece ")(" and a piece "(1".
CHANGE = torch.tensor([0, 0, 1, -1, 0, 0, 0, 1])
LOWEST = torch.tensor([0, 0, 0, -1, 0, 0, -1, 0])
MARKS = torch.tensor([[0], [0], [0], [0], [0], [1], [0], [1]])
SPELT = ["", "", "(", ")", "a", "1", ")(", "(1"]


def net(steps=4, context=0):
    torch.manual_seed(0)
    own = nets.TokenGRU(8, steps, width=8, embedding=4, context=context)
    return nets.BalancedBrackets(own, change=CHANGE, lowest=LOWEST, marks=MARKS, end=END)


def is_balanced(text):
    depth = 0
    for symbol in text:
        depth += (symbol == "(") - (symbol == ")")
        if depth < 0:
            return False
    return depth == 0 and text.count("1") % 2 == 0


@torch.no_grad()
def test_of_all_sequences_the_balanced_ones_have_a_probability_and_no_other():
    law = priors.Sentences(net())()
    total = 0.0
    for length in range(4):
        for tokens in itertools.product(range(2, 8), repeat=length):
            x = torch.tensor([[*tokens, END, *[PAD] * (3 - length)]])
            p = float(law.log_prob(x).exp())
            assert (p > 0) == is_balanced("".join(SPELT[token] for token in tokens)), tokens
            total += p
    unended = torch.tensor(list(itertools.product(range(2, 8), repeat=4)))
    assert total + float(law.log_prob(unended).exp().sum()) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_data_are_likelier_than_without_the_grammar():
    told = net()
    x = torch.tensor([[2, 4, 3, END], [7, 5, 3, END], [4, END, PAD, PAD]])
    assert (priors.Sentences(told)().log_prob(x) > priors.Sentences(told.net)().log_prob(x)).all()


@torch.no_grad()
def test_one_by_one_is_all_at_once_and_draws_that_end_are_balanced():
    told = net(steps=12, context=2)
    c = torch.randn(3, 2)
    tokens = torch.tensor([[7, 4, 5], [2, 6, 3], [4, 2, 2]])
    state = told.begin(c, batch=(3,))
    found = [told.logits(state)]
    for t in range(3):
        state = told.advance(state, tokens[:, t])
        found.append(told.logits(state))
    torch.testing.assert_close(torch.stack(found, 1), told(tokens, c))
    law = priors.Sentences(told)(torch.randn(300, 2))
    torch.manual_seed(0)
    draws = [[t for t in row if t != PAD] for row in law.sample().tolist()]
    ended = [row[:-1] for row in draws if row[-1] == END]
    assert len(ended) > 50
    assert all(is_balanced("".join(SPELT[token] for token in row)) for row in ended)


def test_tables_of_another_size_are_refused():
    own = nets.TokenGRU(9, 4)
    with pytest.raises(ValueError, match="a row for each of 9 tokens but have shapes"):
        nets.BalancedBrackets(own, change=CHANGE, lowest=LOWEST, marks=MARKS, end=END)
    with pytest.raises(ValueError, match="at most 0 and at most change"):
        nets.BalancedBrackets(net().net, change=CHANGE, lowest=CHANGE, marks=MARKS, end=END)
