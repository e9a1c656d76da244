"""Normal scores: exact at distinct numbers, and back to the quantiles of those seen."""

import torch

from probgen.data.normal_scores import from_normal_scores, normal_scores

SEEN = torch.tensor([0.0, 1, 1, 1, 5, 9], dtype=torch.float64)


def test_scores_are_those_of_ranks_and_ties_share_theirs():
    generator = torch.Generator().manual_seed(0)
    ends = normal_scores(torch.tensor([0.0, 5, 9, -3, 20]).double(), SEEN, generator=generator)
    ranks = torch.tensor([0.5, 4.5, 5.5, 0.5, 5.5]).double() / 6
    torch.testing.assert_close(torch.special.ndtr(ends), ranks)
    tied = torch.special.ndtr(normal_scores(torch.ones(3000).double(), SEEN, generator=generator)) * 6
    assert 1.5 <= tied.min() < 1.51
    assert 3.49 < tied.max() <= 3.5


def test_scores_lead_back_between_those_seen_or_to_those_themselves():
    score = torch.special.ndtri(torch.tensor([0.5, 4.5, 5.0, 4.75]).double() / 6)
    torch.testing.assert_close(
        from_normal_scores(score, SEEN, between=True), torch.tensor([0.0, 5, 7, 6]).double()
    )
    noise = torch.randn(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert set(from_normal_scores(noise, SEEN, between=False).tolist()) == {0.0, 1.0, 5.0, 9.0}
