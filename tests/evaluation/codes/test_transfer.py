"""Few labels on a code, paired over draws of the labels; codes of models and pictures of them."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from probgen import models, nets, plots
from probgen.evaluation import embedding, encoded, principal_components, transfer
from tests.pairs import LinearGaussian


def classes(n, seed, dim=5):
    """Two classes N(±e₁, I): the best accuracy is Φ(1) = 0.841, that of the rest of the coordinates ½."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, dim, generator=generator)
    x[:, 0] += 2.0 * y - 1
    return x, y


@pytest.fixture
def table():
    (x, y), (test, y_test) = classes(2000, 0), classes(2000, 1)
    first, rest = (x[:, :1], test[:, :1]), (x[:, 1:], test[:, 1:])
    named = {"data": (x, test), "first": first, "rest": rest}
    return transfer(named, y, y_test, sizes=[10, 500], draws=6).set_index(["codes", "probe", "labels"])


def test_many_labels_reach_the_best_accuracy_and_noise_a_guess(table):
    best, error = 0.5 * (1 + math.erf(1 / math.sqrt(2))), 4 * math.sqrt(0.25 / 2000)
    assert table.accuracy["first", "linear", 500] == pytest.approx(best, abs=error)
    assert table.accuracy["rest", "linear", 500] == pytest.approx(0.5, abs=error)
    assert table.accuracy["rest", "neighbours", 500] == pytest.approx(0.5, abs=error)


def test_few_labels_are_worth_more_on_the_code_that_matters(table):
    gain = table.difference["first", "linear", 10], table.difference_stderr["first", "linear", 10]
    assert gain[0] > 3 * gain[1] > 0
    assert table.difference["first", "linear", 500] < gain[0]


def test_differences_are_paired(table):
    """The same draws for all codes: a copy of the reference differs by nothing, and has no error."""
    (x, y), (test, y_test) = classes(500, 2), classes(500, 3)
    named = {"data": (x, test), "copy": (3 * x + 1, 3 * test + 1)}
    found = transfer(named, y, y_test, sizes=[10], draws=4)
    copies = found[found.codes == "copy"]
    assert copies.difference.tolist() == [0.0, 0.0]
    assert copies.difference_stderr.tolist() == [0.0, 0.0]
    assert (copies.stderr > 0).all()
    assert (table.difference.loc["data"] == 0).all()


def test_neither_probe_depends_on_how_a_code_is_turned():
    (x, y), (test, y_test) = classes(500, 4), classes(500, 5)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(6))).Q
    found = transfer({"x": (x, test), "turned": (x @ turn, test @ turn)}, y, y_test, sizes=[50], draws=3)
    assert found.difference.abs().max() <= 1e-3


def test_labels_are_drawn_in_equal_shares():
    """One label of each class: the nearest neighbour is right wherever classes lie apart."""
    y = torch.tensor([0] * 990 + [1] * 10)
    x = 100.0 * y[:, None] + torch.randn(1000, 1, generator=torch.Generator().manual_seed(7))
    found = transfer({"x": (x, x)}, y, y, sizes=[2], draws=5)
    assert found.accuracy.tolist() == [1.0, 1.0]


def test_principal_components_are_those_of_the_singular_values():
    x, _ = classes(200, 8)
    x = x * torch.tensor([3.0, 1.0, 0.5, 2.0, 0.1])
    train, test = principal_components(x, x[:7], 2)
    centred = (x - x.mean(0)).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(train.abs(), (u * s)[:, :2].abs(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(train[:7], test)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": [1]}, "sizes should be at least 2, one label a class, but have 1"),
        ({"sizes": [60]}, "class 0 should have 30 rows to draw but has 10"),
        ({"reference": "raw"}, "reference should be one of x but is 'raw'"),
        ({"codes": {}}, "codes should have at least 1 entry but have 0"),
        ({"codes": {"x": (torch.ones(20, 2), torch.ones(20, 2))}}, "codes of 'x' should vary"),
        ({"codes": {"x": (torch.rand(20, 2), torch.rand(20, 3))}}, "test codes of 'x' should have 2 coord"),
    ],
)
def test_bad_input_is_named(change, words):
    x, y = classes(20, 9)
    arguments = {"codes": {"x": (x, x)}, "sizes": [2], "draws": 2} | change
    with pytest.raises(ValueError, match=words):
        transfer(arguments.pop("codes"), y, y, **arguments)


def test_codes_of_a_pair_are_means_or_seeded_draws_in_evaluation_mode(device, dtype):
    net = nets.MLP(3, 2, activation=lambda: nn.Sequential(nn.SiLU(), nn.Dropout(0.5)))
    vae = models.VAE(nets.NormalHead(net), nets.NormalHead(nets.MLP(2, 3))).to(device, dtype)
    x = torch.randn(10, 3, device=device, dtype=dtype)
    whole = vae.encode(x)
    torch.testing.assert_close(encoded(vae, x, batch_size=3), whole.mean)
    torch.testing.assert_close(encoded(vae, x.cpu().numpy() if device.type == "cpu" else x), whole.mean)
    drawn = encoded(vae, x, draw=True, seed=1)
    torch.testing.assert_close(encoded(vae, x, draw=True, seed=1), drawn)
    assert not torch.equal(drawn, whole.mean)
    score = ((drawn - whole.mean) / whole.variance.sqrt()).square().sum()
    assert 3.7 < float(score) < 59  # chi-squared of 20 degrees, each side 3e-5
    assert vae.training


def test_whatever_has_encode_and_decode_is_taken():
    class Own:
        def encode(self, x, *context):
            return torch.distributions.OneHotCategorical(torch.eye(3)[x[:, 0].long()])

        def decode(self, z, *context):
            raise NotImplementedError

    x = torch.tensor([[2.0], [0.0]])
    assert encoded(Own(), x).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(TypeError, match="model should have encode and decode but is LinearGaussian"):
        encoded(LinearGaussian(latent=1), x)
    with pytest.raises(ValueError, match="context 1 should have 2 rows, as x has, but has 3"):
        encoded(Own(), x, torch.zeros(3, 1))


def test_clusters_are_clusters_in_the_plane():
    generator = torch.Generator().manual_seed(10)
    labels = torch.randint(3, (90,), generator=generator)
    codes = 30 * torch.eye(6)[labels] + torch.randn(90, 6, generator=generator)
    for method in ("pca", "t-sne"):
        points = embedding(codes, method=method, seed=1)
        assert points.shape == (90, 2)
        nearest = torch.cdist(points.double(), points.double()).fill_diagonal_(math.inf).argmin(1)
        assert (labels[nearest] == labels).all(), method
        assert torch.equal(embedding(codes, method=method, seed=1), points)
        (axis,) = plots.latent_map(points, labels, axes=("first", "second")).axes
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("first", "second")
    variances = embedding(codes).var(0)
    expected = np.linalg.eigvalsh(np.cov(codes.T.numpy()))[::-1][:2]
    np.testing.assert_allclose(variances, expected, rtol=1e-4)


def test_an_embedding_says_what_it_needs():
    with pytest.raises(ValueError, match="method should be"):
        embedding(torch.zeros(5, 3), method="isomap")
    with pytest.raises(ValueError, match="at least 3, of at least 2 coordinates"):
        embedding(torch.zeros(5, 1))
    if find_spec("umap") is None:
        with pytest.raises(ImportError, match="umap-learn: install it, or take 't-sne'"):
            embedding(torch.zeros(5, 3), method="umap")


def test_codes_without_a_mean_are_no_codes():
    class Heavy:
        def encode(self, x):
            return torch.distributions.Cauchy(x, torch.ones(()))

        def decode(self, z):
            raise NotImplementedError

    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="codes should be finite but that of row 0 of x is not, the mean"):
        encoded(Heavy(), x)
    assert encoded(Heavy(), x, draw=True).isfinite().all()
    with pytest.raises(ValueError, match="at least one row"):
        encoded(Heavy(), x[:0])
