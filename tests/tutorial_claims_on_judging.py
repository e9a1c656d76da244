"""What the prose of the tutorial on judging generative models says, as assertions on its names."""

import math
from types import SimpleNamespace

import pytest


def how_good_is_a_generative_model(v: SimpleNamespace) -> None:
    table = v.quality
    assert table.precision["real"] == pytest.approx(0.92, abs=0.005)
    assert table["Fréchet"]["real"] == pytest.approx(0.5, abs=0.1)
    assert table["Fréchet"]["memoriser"] < table["Fréchet"]["real"] < table["Fréchet"]["vae, 16"]
    near = ["precision", "recall"]
    assert table.loc["memoriser", near].to_list() == pytest.approx(
        table.loc["real", near].to_list(), abs=0.06
    )
    assert table.classifier["memoriser"] > table.classifier["real"] + 0.03
    assert table.precision[["vae, 16", "vae, 2"]].max() < 0.3
    assert table.recall["vae, 16"] == pytest.approx(table.recall["real"], abs=0.06)
    assert table.recall["pixels"] == pytest.approx(0.77, abs=0.005)

    ratio, z, own = v.copies["neighbour ratio"], v.copies.z, v.copies.authenticity
    assert (ratio["memoriser"], own["memoriser"]) == (0, 0)
    assert z["memoriser"] == pytest.approx(-22, abs=1)
    assert ratio[["vae, 16", "vae, 2"]].min() > 1.4
    assert (ratio["real"], z["real"], own["real"]) == pytest.approx((1.02, 0.1, 0.59), abs=0.05)
    briber = v.copies.loc["memoriser with noise"]
    assert (briber["neighbour ratio"], briber.authenticity) == pytest.approx(
        (ratio["real"], own["real"]), abs=0.04
    )
    assert briber.z > 0
    assert briber["Fréchet"] < table["Fréchet"]["real"]
    assert briber.recall > 0.99
    assert briber.classifier > 0.99
    assert briber.precision == pytest.approx(0.36, abs=0.02)

    few, many = v.of_size[40].mean(0), v.of_size[299].mean(0)
    assert (few[0].item(), many[0].item()) == pytest.approx((2.2, 0.3), abs=0.4)
    assert few[0] > table["Fréchet"]["vae, 16"] > many[0]
    for found in v.of_size.values():
        assert (found.mean(0)[1:].abs() < 3.5 * found.std(0)[1:] / 20**0.5).all()

    mass = v.mass["log p(x)"]
    assert (mass["99 % noise"], mass["vae, 2"]) == pytest.approx((-98.4, -100.2), abs=0.8)
    assert v.gain.mean() > 4 * v.gain.std() / len(v.gain) ** 0.5
    assert 0 < mass["vae, 16"] - mass["99 % noise"] <= math.log(100)
    assert v.mass.classifier["99 % noise"] > 0.97
    assert mass["memoriser, 1 % noise"] == pytest.approx(-186, abs=0.1)
    assert not (v.digits.test[:, None] == v.train[None]).all(-1).any()

    nats = {name: found.value for name, found in v.parzen.items()}
    assert nats["centroids of k-means"] - nats["real digits"] == pytest.approx(7, abs=1)
    assert nats["vae, 16: means"] - nats["vae, 16: draws"] == pytest.approx(15, abs=3)
    assert abs(nats["vae, 16: draws"] + 0.8) < 3

    short = {k: v.exact - value for k, (value, _) in v.estimates.items()}
    assert (short[1], short[100]) == pytest.approx((2.6, 0.7), abs=0.15)
    assert v.estimates[100].stderr == pytest.approx(0.7, abs=0.05)
    assert v.bracket.gap.value == pytest.approx(8.5, abs=1.5)
    assert v.bracket.lower.value < v.truth < v.bracket.upper.value
    assert v.truth == pytest.approx(14.0, abs=0.05)

    assert v.smear > v.likely.max()
    assert v.rarer == pytest.approx(0.24, abs=0.1)

    assert v.few.difference[10, "vae, 16"] == pytest.approx(-0.05, abs=0.03)
    assert v.few.difference[50, "vae, 16"] == pytest.approx(-0.06, abs=0.03)
    assert v.few.accuracy[50, "vae, 16"] == pytest.approx(0.81, abs=0.03)
    assert v.few.stderr[10, "pixels"] == pytest.approx(0.02, abs=0.005)
    assert v.few.difference_stderr[10, "16 components"] == pytest.approx(0.003, abs=0.001)

    straight, turned = v.scores["as they are"], v.scores["turned"]
    assert list(straight.values()) == pytest.approx([1, 1, 1], abs=0.03)
    assert list(turned.values()) == pytest.approx([0, 0, 1], abs=0.03)
    assert v.cost == pytest.approx(math.log(1000), abs=1e-3)
