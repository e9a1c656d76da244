"""Networks over tokens: prefixes alone, padding without influence, words left out in training alone."""

import pytest
import torch

from probgen import nets


def test_logits_know_what_came_before_alone():
    torch.manual_seed(0)
    net = nets.TokenGRU(7, 9, context=3, width=16, layers=2).eval()
    c, tokens = torch.randn(2, 4, 3), torch.randint(7, (2, 4, 8))
    logits = net(tokens, c)
    assert logits.shape == (2, 4, 9, 7)
    changed = tokens.clone()
    changed[..., 5] = (changed[..., 5] + 1) % 7
    apart = (net(changed, c) - logits).abs().amax((0, 1, 3)) > 1e-6
    assert apart.tolist() == [False] * 6 + [True] * 3
    assert ((net(tokens, c + 1) - logits).abs().amax(-1) > 1e-6).all()  # the code is told at each step
    torch.testing.assert_close(net(tokens[1], c[1]), logits[1])


def test_words_are_left_out_in_training_alone():
    torch.manual_seed(0)
    net = nets.TokenGRU(7, 9, width=16, word_dropout=0.5)
    tokens = torch.randint(7, (400, 1))
    first = net(tokens)[:, 1]
    as_they_are = net.eval()(tokens)[:, 1]
    assert torch.equal(as_they_are, net(tokens)[:, 1])
    same = (first - as_they_are).abs().amax(1) < 1e-5
    assert 140 < int(same.sum()) < 260  # 200 ± 60 of 400 at a false-alarm rate below 1e-8
    left_out = first[~same]
    torch.testing.assert_close(left_out, left_out[:1].expand_as(left_out))  # one vector for all of them
    (left_out.sum()).backward()
    assert net.unknown.grad.abs().sum() > 0


def test_a_reader_reads_within_the_length():
    torch.manual_seed(0)
    net = nets.TokenReader(7, 3, width=8)
    tokens = torch.tensor([[2, 3, 1, 0, 0], [4, 4, 5, 6, 1]])
    found = net(tokens)
    assert found.shape == (2, 3)
    torch.testing.assert_close(net(tokens[:1, :3]), found[:1])
    torch.testing.assert_close(net(tokens.expand(4, 2, 5)), found.expand(4, 2, 3))
    for t in range(5):  # each token of a sequence counts
        other = tokens.clone()
        other[1, t] = 2
        assert not torch.equal(net(other)[1], found[1])
    assert nets.NormalHead(nets.TokenReader(7, 3))(tokens).event_shape == (3,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nets.TokenGRU(7, 9, word_dropout=1.0),
            r"word_dropout should be a share in \[0, 1\) but got 1",
        ),
        (
            lambda: nets.TokenGRU(7, 9, context=2)(torch.zeros(1, 3).long()),
            r"a context of 2 numbers but got \[\]",
        ),
        (
            lambda: nets.TokenGRU(7, 9)(torch.zeros(1, 3).long(), torch.zeros(1, 2)),
            r"of 0 numbers but got \[2\]",
        ),
        (lambda: nets.TokenGRU(7, 0), "steps should be at least 1"),
    ],
)
def test_bad_sizes_and_contexts(call, message):
    with pytest.raises(ValueError, match=message):
        call()
