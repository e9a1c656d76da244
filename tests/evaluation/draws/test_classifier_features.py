"""Features of a classifier: what they are of, that their seed decides, and that they see what draws lack."""

import numpy as np
import pytest
import torch

from probgen import data
from probgen.evaluation import classifier_features, frechet_distance, kernel_distance


@pytest.fixture(scope="module")
def digits():
    images = data.digits()
    return images, classifier_features(images.train, images.train_labels, scale=None, steps=800)


def test_the_accuracy_is_that_of_rows_held_out(digits):
    images, features = digits
    assert (features.rows, features.held_out_rows) == (719, 179)
    guessed = features.classifier(features.inputs(images.test)).logits.argmax(-1)
    on_test = float((guessed == images.test_labels).double().mean())
    assert on_test > 0.85
    assert features.accuracy > 0.85
    assert "32 features of a classifier that learned from 719 rows, of accuracy 0." in str(features)
    x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    noise = classifier_features(x, torch.arange(1000) % 2, steps=300)  # nothing to learn but the rows
    assert 0.3 < noise.accuracy < 0.7  # outside with probability 2e-8


def test_distances_in_features_see_worse_pictures(digits):
    """Distances grow with the share of pixels that are hidden, and of real pictures are 0 to their errors."""
    images, features = digits
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(0))
    one, other = images.test[order].chunk(2)
    found = []
    for share in (0.0, 0.1, 0.2, 0.4):
        keep = torch.rand(one.shape, generator=torch.Generator().manual_seed(1)) >= share
        found.append((frechet_distance(one * keep, other, features=features).extrapolated,
                      kernel_distance(one * keep, other, features=features)))  # fmt: skip
    frechet, kernel = zip(*found, strict=True)
    assert abs(kernel[0].value) < 4 * kernel[0].stderr
    assert abs(frechet[0]) < 0.9  # four standard deviations over other halves
    assert max(frechet[:2]) < frechet[2] < frechet[3]
    assert frechet[3] > 5
    assert max(k.value for k in kernel[:2]) < kernel[2].value < kernel[3].value
    assert kernel[3].value > 8 * kernel[3].stderr


def data_of(n, device, dtype):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).to(device=device, dtype=dtype)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0)


def test_features_are_standard_on_rows_held_out_and_their_seed_decides(device, dtype):
    x, y = data_of(500, device, dtype)
    state = torch.get_rng_state()
    one, same, other = (classifier_features(x, y, width=6, steps=100, seed=s)(x) for s in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    assert one.equal(same)
    assert not one.equal(other)
    assert (one.shape, one.dtype, one.device.type) == ((500, 6), dtype, device.type)
    assert one.square().mean().item() == pytest.approx(1, abs=0.3)
    assert one.mean(0).abs().max() < 0.5
    assert not one.requires_grad


def test_columns_have_no_units_and_arrays_are_taken(device):
    x, y = data_of(300, device, torch.float64)
    units = torch.tensor([2.0**-10, 1.0, 2.0**20], dtype=torch.float64, device=device)
    plain = classifier_features(x, y, width=6, steps=50)(x)
    scaled = classifier_features(x * units, y, width=6, steps=50)(x * units)
    torch.testing.assert_close(scaled, plain)
    whole = classifier_features(x * 1024, y, width=6, steps=50, scale=None)(x * 1024)
    torch.testing.assert_close(whole, classifier_features(x, y, width=6, steps=50, scale=None)(x))
    given = classifier_features(x.cpu().numpy(), np.asarray(y.cpu()), width=6, steps=50)(x.cpu())
    torch.testing.assert_close(given, plain.cpu())


def test_rows_without_a_label_are_left_out(device, dtype):
    x, y = data_of(300, device, dtype)
    some = y.clone()
    some[::3] = -1
    features = classifier_features(x, some, width=6, steps=50)
    assert (features.rows, features.held_out_rows) == (160, 40)
    assert features(x[some >= 0]).equal(
        classifier_features(x[some >= 0], y[some >= 0], width=6, steps=50)(x[some >= 0])
    )


def test_a_training_that_is_resumed_gives_the_same(tmp_path, device, dtype):
    x, y = data_of(300, device, dtype)
    expected = classifier_features(x, y, width=6, steps=60)(x)
    classifier_features(x, y, width=6, steps=20, checkpoint=tmp_path / "run")
    resumed = classifier_features(x, y, width=6, steps=60, checkpoint=tmp_path / "run", resume=True)
    assert resumed(x).equal(expected)


X = torch.arange(40.0).reshape(20, 2)
Y = torch.arange(20) % 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: classifier_features(X, [0, 1] * 10), TypeError, "labels should be a tensor or an array but"),
        (lambda: classifier_features(X, Y.float()), TypeError, "labels should be integers"),
        (lambda: classifier_features(X, Y[:5]), ValueError, r"labels should have shape \(20,\), one a row"),
        (lambda: classifier_features(X, Y * 0), ValueError, "labels should be of at least 2 classes"),
        (lambda: classifier_features(X, Y - 1), ValueError, "labels should be of at least 2 classes"),
        (
            lambda: classifier_features(X[:9], Y[:9]),
            ValueError,
            "labels should be known of at least 10 rows but are of 9",
        ),
        (lambda: classifier_features(X / 0, Y), ValueError, "x should be finite"),
        (lambda: classifier_features(X, Y, width=0), ValueError, "width should be at least 1 but got 0"),
        (lambda: classifier_features(X * 0, Y, scale=None), ValueError, "x should hold different rows"),
        (
            lambda: classifier_features(X, Y, steps=1)(X[:, :1]),
            ValueError,
            r"x should have the event shape \(2,\) of the features but has \(1,\)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
