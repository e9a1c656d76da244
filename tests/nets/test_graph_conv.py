"""Graph convolutions against the formula, node by node."""

import pytest
import torch

from probgen.nets import GraphConv, GraphNet, NormalHead


def graphs(*batch, n=6, seed=0):
    x = torch.bernoulli(torch.full((*batch, n, n), 0.4), generator=torch.Generator().manual_seed(seed)).triu(
        1
    )
    return (x + x.transpose(-1, -2)).double()


def by_hand(adjacency, features, weight, bias):
    """Σ_j (A + I)_ij / sqrt(d_i d_j) h_j W + b, in loops."""
    n = len(adjacency)
    loops = [[float(adjacency[i, j]) + (i == j) for j in range(n)] for i in range(n)]
    degrees = [sum(row) for row in loops]
    out = []
    for i in range(n):
        total = torch.zeros(features.shape[1], dtype=features.dtype)
        for j in range(n):
            total += loops[i][j] / (degrees[i] * degrees[j]) ** 0.5 * features[j]
        out.append(weight @ total + bias)
    return torch.stack(out)


def test_a_convolution_is_the_formula_in_any_batch():
    torch.manual_seed(0)
    conv = GraphConv(3, 2).double()
    torch.nn.init.normal_(conv.bias)
    adjacency, features = graphs(4, 5), torch.randn(4, 5, 6, 3).double()
    found = conv(features, adjacency)
    for i in range(4):
        for j in range(5):
            expected = by_hand(adjacency[i, j], features[i, j], conv.linear.weight, conv.bias)
            torch.testing.assert_close(found[i, j], expected)


def test_a_node_without_links_keeps_what_it_has():
    conv = GraphConv(3, 2)
    features = torch.randn(4, 3)
    torch.testing.assert_close(conv(features, torch.zeros(4, 4)), conv.linear(features))


def test_the_order_of_nodes_has_no_say():
    conv = GraphConv(3, 2).double()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    adjacency, features = graphs(), torch.randn(6, 3).double()
    turned = conv(features[order], adjacency[order][:, order])
    torch.testing.assert_close(turned, conv(features, adjacency)[order])


def test_a_net_is_two_convolutions_of_one_hot_features():
    net = GraphNet(6, 2, hidden=4).double()
    torch.nn.init.normal_(net.bias)
    torch.nn.init.normal_(net.own)
    first = by_hand(graphs(), torch.eye(6).double(), net.rows.T, net.bias)
    second = by_hand(graphs(), first.relu(), net.last.weight, torch.zeros(2).double())
    shares = by_hand(graphs(), torch.ones(6, 1).double(), net.last.bias.unsqueeze(1), torch.zeros(2).double())
    torch.testing.assert_close(net(graphs()), second + shares + net.own)


@pytest.mark.parametrize("own", [True, False])
def test_a_head_has_two_blocks(own):
    law = NormalHead(GraphNet(6, 2, own=own).double())(graphs(5))
    assert law.batch_shape == (5, 6)
    assert law.event_shape == (2,)


def test_weights_below_0_are_refused():
    for weight in (-1.0, torch.nan):
        adjacency = torch.zeros(4, 4)
        adjacency[0, 1] = adjacency[1, 0] = weight
        with pytest.raises(ValueError, match=f"weights of links should be 0 or more but one is {weight:g}"):
            GraphConv(3, 2)(torch.zeros(4, 3), adjacency)
        with pytest.raises(ValueError, match="weights of links should be 0 or more"):
            GraphNet(4, 2)(adjacency)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="GraphConv should get inputs of size 3 but got shape"):
        GraphConv(3, 2)(torch.zeros(4, 2), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="adjacency matrices of 6 nodes but got shape"):
        GraphNet(6, 2)(torch.zeros(1, 5, 5))
    with pytest.raises(ValueError, match="outputs"):
        GraphConv(3, 0)
