"""The multinomial law given its total: over all counts of a total it sums to one, and draws follow it."""

import itertools

import torch

from probgen.nets import MLP, MultinomialHead
from probgen.nets.multinomial_head import MultinomialOfTotal


def test_it_sums_to_one_over_all_counts_of_a_total():
    law = MultinomialOfTotal(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    for total in (0, 1, 4):
        counts = [c for c in itertools.product(range(total + 1), repeat=3) if sum(c) == total]
        found = law.log_prob(torch.tensor(counts, dtype=torch.float64)).exp().sum()
        torch.testing.assert_close(found, torch.tensor(1.0, dtype=torch.float64))


def test_it_is_torchs_law_where_totals_agree():
    logits, x = torch.randn(5, 4), torch.tensor([[1.0, 0, 2, 3]]).expand(5, 4)
    expected = torch.distributions.Multinomial(6, logits=logits).log_prob(x)
    torch.testing.assert_close(MultinomialOfTotal(logits).log_prob(x), expected)


def test_draws_have_the_total_and_the_mean():
    torch.manual_seed(0)
    law = MultinomialHead(MLP(2, 5), total=6)(torch.zeros(2))
    draws = law.sample((20_000,))
    assert (draws.sum(-1) == 6).all()
    assert ((draws.mean(0) - law.mean).abs() < 4.5 * (law.mean / 20_000) ** 0.5).all()  # false alarm 3e-5
