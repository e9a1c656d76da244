"""Recommendation: measures counted by hand, EASE against its definition, and the smallest path."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import applications, data, fit
from probgen.applications.parts.recommend import rec_vae
from probgen.applications.parts.recommend.folds import Fold, added, chosen_share
from probgen.applications.parts.recommend.recommenders import ease, item_neighbours, ranking


def test_ranking_is_as_counted_by_hand():
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0], [-math.inf, 1.0, 2.0, 3.0]])
    held_out = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    found = ranking(scores, held_out, recalls=(1, 2, 3), depth=3)
    first = (1 / math.log2(3)) / (
        1 + 1 / math.log2(3)
    )  # its second relevant item is fourth, beyond the depth
    assert found["ndcg"] == pytest.approx((first + 1) / 2)
    assert found["recall_1"] == pytest.approx((0 + 1) / 2)
    assert found["recall_2"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["recall_3"] == pytest.approx((1 / 2 + 1) / 2)
    both = ranking(scores[:1], torch.tensor([[1.0, 1.0, 0.0, 0.0]]), recalls=(1,), depth=3)
    assert both["recall_1"] == 1, "of one place no more than one can be hit"


def test_users_without_held_out_items_and_nan_are_refused():
    with pytest.raises(ValueError, match="should have an item of each user"):
        ranking(torch.rand(2, 3), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="some are NaN"):
        ranking(torch.full((1, 3), math.nan), torch.tensor([[1.0, 0, 0]]))


@pytest.mark.parametrize("users", [20, 50])
def test_ease_is_its_definition_by_items(users):
    torch.manual_seed(0)
    x, seen = (torch.rand(users, 30) < 0.3).double(), (torch.rand(4, 30) < 0.3).double()
    p = torch.linalg.inv(x.T @ x + 7.0 * torch.eye(30, dtype=x.dtype))
    b = torch.eye(30, dtype=x.dtype) - p / p.diagonal()
    assert b.diagonal().abs().max() < 1e-12
    torch.testing.assert_close(ease(x, seen, weight=7.0), seen @ b)


def test_item_neighbours_are_cosines_of_the_nearest():
    x = torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 0, 1]])
    seen = torch.tensor([[1.0, 0, 0]])
    torch.testing.assert_close(item_neighbours(x, seen), torch.tensor([[0.0, 1.0, 0.5]]))
    torch.testing.assert_close(item_neighbours(x, seen, neighbours=1), torch.tensor([[0.0, 1.0, 0.0]]))


def test_recommenders_are_added_by_the_share_that_is_best_on_validation_users():
    scores, others = torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([[30.0, 10.0, 20.0]])
    unit = [[-1.0, 0.0, 1.0]], [[1.0, -1.0, 0.0]]
    for share in (0.0, 0.25, 1.0):
        expected = (1 - share) * torch.tensor(unit[0]) + share * torch.tensor(unit[1])
        torch.testing.assert_close(added(scores, others, share=share), expected.double())
    nothing = added(torch.zeros(1, 3), others, share=0.25)
    torch.testing.assert_close(nothing, 0.25 * torch.tensor(unit[1]).double())
    source = torch.Generator().manual_seed(0)
    held_out = (torch.rand(40, 200, generator=source) < 0.1).float()
    held_out[:, 0] = 1
    seen, noise = torch.zeros_like(held_out), torch.rand(40, 200, generator=source)
    fold = Fold(held_out, (seen, seen), (held_out, held_out), torch.arange(200), 0)
    assert chosen_share(fold, held_out, noise) == 0.0
    assert chosen_share(fold, noise, held_out) > 0.5
    alike = [held_out + 3 * torch.randn(40, 200, generator=source) for _ in range(2)]
    assert 0.2 < chosen_share(fold, *alike) < 0.7, "two that are equally good are better together"


def made(path, **columns):
    """Write likes of 100 users in two groups that like items of their own."""
    source = np.random.default_rng(0)
    rows = [
        (user, 20 * (user % 2) + item, 5.0)
        for user in range(100)
        for item in source.choice(20, 10, replace=False)
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"]).assign(**columns)
    frame.to_csv(path, index=False)
    return path


def test_groups_that_like_their_own_items_are_told_by_ease_and_not_by_popularity(tmp_path):
    own = made(tmp_path / "own.csv")
    folder = applications.apply("recommend", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert found.loc["EASE", "recall_20"] == 1, "ten items of the own group are not seen, and come first"
    assert found.loc["ItemKNN", "recall_20"] == 1
    assert found.loc["EASE and both VAEs", "recall_20"] == 1, "the VAEs have learned nothing in two steps"
    assert found.loc["popularity", "ndcg"] < found.loc["EASE", "ndcg"]
    assert "recommendations.csv" in {path.name for path in folder.iterdir()}


def groups():
    """Return likes of 200 users in two groups, of 20 items each."""
    source = torch.Generator().manual_seed(0)
    likes = (torch.rand(200, 40, generator=source) < 0.5).float()
    likes[::2, :20] = 0
    likes[1::2, 20:] = 0
    return likes


def test_layers_see_all_before_them():
    torch.manual_seed(0)
    net = rec_vae.DenselyLiked(7, 4, hidden=5, layers=3).eval()
    x = torch.rand(2, 7)
    h = x / x.norm(dim=1, keepdim=True)
    seen = []
    for linear, norm in zip(net.maps, net.norms, strict=True):
        a = linear(h) + sum(seen)
        h = norm(a * a.sigmoid())
        seen.append(h)
    torch.testing.assert_close(net(x), net.last(h))
    assert not torch.equal(net.train()(x), net(x)), "in training a share of what is seen is left out"


def test_in_its_turn_each_learns_alone_and_the_encoder_is_remembered_after_its_own():
    likes = groups()
    torch.manual_seed(0)
    objective = rec_vae.Alternating(rec_vae.rec_vae(likes, latent=3), gamma=0.005, turns=(2, 1))
    assert objective.turns == ("encoder", "encoder", "decoder")
    for turn, learns in (("encoder", "vae.encoder"), ("decoder", "vae.decoder")):
        objective.turn = turn
        objective.zero_grad()
        objective(likes)[0].backward()
        moved = {name for name, weight in objective.named_parameters() if weight.grad is not None}
        assert moved
        assert all(name.startswith(learns) for name in moved)

    def apart():
        return (objective.past.before(likes).mean - objective.vae.eval().encoder(likes).mean).abs().max()

    with torch.no_grad():
        objective.vae.encoder.net.last.bias.add_(1.0)
    for expected in (1, 0, 0):
        objective.after_step()
        assert apart().item() == pytest.approx(expected, abs=1e-6), "after the second turn of the encoder"


def test_the_loss_weighs_the_divergence_by_what_a_user_likes():
    """By γ times what a user likes, times log q(z | x) − log p(z | x) of the draw."""
    likes = groups()
    torch.manual_seed(0)
    vae = rec_vae.rec_vae(likes, latent=3)
    losses = {}
    for gamma in (0.0, 0.005, 0.01):
        objective = rec_vae.Alternating(vae, gamma=gamma, turns=(2, 1)).eval()
        torch.manual_seed(1)
        loss, terms = objective(likes)
        losses[gamma] = loss.item()
        assert "elbo" not in terms
        assert objective.judge(terms) is None
    law = vae.encoder(likes)
    torch.manual_seed(1)
    z = law.rsample()
    apart = law.log_prob(z) - rec_vae.Alternating(vae, gamma=0, turns=(2, 1)).past(likes).log_prob(z)
    expected = 0.005 * (likes.sum(1) * apart).mean().item()
    assert losses[0.005] - losses[0.0] == pytest.approx(expected, rel=1e-3)
    assert losses[0.01] - losses[0.0] == pytest.approx(2 * expected, rel=1e-3)


def test_a_rec_vae_learns_which_group_a_user_is_of():
    likes = groups()
    torch.manual_seed(0)
    vae = rec_vae.rec_vae(likes, latent=3)
    before = ranking(vae.decode(vae.encode(likes).mean).logits, likes, recalls=(20,), depth=20)
    fit(
        rec_vae.Alternating(vae, gamma=0.005, turns=(6, 2)),
        likes,
        steps=400,
        batch_size=100,
        optimizer=rec_vae.adam,
        seed=0,
        progress=False,
    )
    after = ranking(vae.decode(vae.encode(likes).mean).logits, likes, recalls=(20,), depth=20)
    assert before["recall_20"] < 0.65
    assert after["recall_20"] > 0.95


def test_users_who_share_no_items_and_more_pairs_than_memory_holds_are_refused(tmp_path, monkeypatch):
    rows = [(user, 10 * user + item, 5) for user in range(60) for item in range(6)]
    pd.DataFrame(rows, columns=["user", "item", "rating"]).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(
        ValueError, match="should like items that others like too, 5 of them at least, but of 6"
    ):
        applications.apply(
            "recommend", data=tmp_path / "own.csv", out=tmp_path / "a", size="tiny", progress=False
        )
    monkeypatch.setattr("probgen.applications.parts.recommend.folds.MOST", 3999)
    with pytest.raises(
        ValueError, match="3,999 pairs of a user and an item at most, but has 100 users and 40"
    ):
        applications.apply(
            "recommend",
            data=made(tmp_path / "two.csv"),
            out=tmp_path / "b",
            size="tiny",
            progress=False,
        )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"rating": 1.0}, "should have a user with 5 liked items at least but has none"),
        ({"rating": "good"}, "should hold numbers but holds"),
        ({"user": None}, "should have a value in each place of 'user' but line 2 has none"),
    ],
)
def test_files_that_do_not_suit_are_refused(tmp_path, columns, said):
    with pytest.raises(ValueError, match=said):
        data.ratings(made(tmp_path / "own.csv", **columns))


def test_a_file_without_items_is_refused(tmp_path):
    (tmp_path / "own.csv").write_text("user,stars\na,1\n")
    with pytest.raises(ValueError, match="should have a column 'movieid' or 'itemid' but has"):
        data.ratings(tmp_path / "own.csv")
