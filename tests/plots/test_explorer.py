"""The page of a model's codes shows what the model decodes, in a real browser."""

import numpy as np
import pytest
import torch

from probgen import models, nets, plots
from tests.plots.browser import browser, needs_browser

__all__ = ["browser"]  # the fixture

SIDE = 6
HEADS = {
    "bernoulli": nets.BernoulliHead,
    "categorical": lambda net: nets.CategoricalHead(net, 5),
    "logistic": lambda net: nets.DiscretisedLogisticHead(net, levels=5),
    "continuous bernoulli": nets.ContinuousBernoulliHead,
    "normal": nets.NormalHead,
}
ACTIVATIONS = [
    torch.nn.ReLU,
    torch.nn.Tanh,
    torch.nn.ELU,
    torch.nn.LeakyReLU,
    torch.nn.Softplus,
]


def vae(latent, decoder):
    return models.VAE(nets.NormalHead(nets.MLP(SIDE**2, latent, hidden=8)), decoder)


def pictures(n=30):
    return torch.linspace(0, 1, SIDE**2).repeat(n, 1).roll(1, 0) * torch.rand(n, 1) + 0.1 * torch.rand(
        n, SIDE**2
    )


def levels(model, z, x):
    """Return the grey levels of what a model decodes, as a picture in the scale of the data."""
    low, high = float(x.min()), float(x.max())
    mean = model.decode(torch.as_tensor(z, dtype=torch.float32)[None]).mean.reshape(SIDE, SIDE)
    return (255 * ((mean - low) / (high - low)).clamp(0, 1)).numpy()


@needs_browser
@pytest.mark.parametrize(("head", "activation"), list(zip(HEADS, ACTIVATIONS, strict=True)))
def test_a_page_of_weights_decodes_as_the_model_does(head, activation, browser, tmp_path):
    model = vae(4, HEADS[head](nets.MLP(4, SIDE**2, hidden=(16, 16), activation=activation)))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.7)  # so that codes tell
    x = pictures()
    browser.open(
        plots.explorer(model, x, torch.arange(30) % 3, image_shape=(SIDE, SIDE)).save(tmp_path / "e.html")
    )
    seen = []
    for across, up in ((0.3, 0.2), (0.8, 0.6)):
        browser.move("map", 42 + across * 400, 22 + up * 300)
        code = browser.run("return code")
        np.testing.assert_allclose(browser.grey("picture"), levels(model, code, x), atol=0.51)
        seen.append(browser.grey("picture"))
    assert np.abs(seen[0] - seen[1]).max() > 3, "the picture moves with the pointer"
    browser.run(
        "const s = document.querySelectorAll('#sliders input')[3];"
        "s.value = s.max; s.dispatchEvent(new Event('input'))"
    )
    moved = browser.run("return code")
    assert moved[:3] == code[:3]
    assert moved[3] != code[3]
    np.testing.assert_allclose(browser.grey("picture"), levels(model, moved, x), atol=0.51)
    assert float(browser.run("return document.getElementById('error').dataset.largest")) < 2e-5
    assert browser.complaints() == []


@needs_browser
def test_a_page_of_a_grid_decodes_any_decoder_to_the_error_that_it_tells(browser, tmp_path):
    model = vae(2, nets.NormalHead(nets.ConvDecoder(2, (SIDE, SIDE), channels=4)))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    x = pictures()
    browser.open(plots.explorer(model, x, image_shape=(SIDE, SIDE)).save(tmp_path / "e.html"))
    largest = float(browser.run("return document.getElementById('error').dataset.largest"))
    assert 0 < largest < 0.02
    start = browser.grey("picture")
    browser.run("code = [0, 1].map((k) => 0.7 * range(k)[0] + 0.3 * range(k)[1]); draw()")
    for key in ["ArrowRight"] * 4 + ["ArrowUp"] * 12:
        before = browser.run("return code")
        browser.key("map", key)
        assert browser.run("return code") != before
    shown, code = browser.grey("picture"), browser.run("return code")
    assert np.abs(shown - start).max() > 40, "another place, another picture"
    np.testing.assert_allclose(shown, levels(model, code, x), atol=255 * largest + 2)
    codes = model.encode(x).mean
    for button, place in (("start", 7), ("end", 19)):
        browser.run("code = codes[arguments[0]].slice(); draw()", place)
        browser.click(button)
    strip = browser.grey("strip")
    for i in range(9):
        wanted = levels(model, torch.lerp(codes[7], codes[19], i / 8), x)
        np.testing.assert_allclose(strip[:, i * (SIDE + 1) :][:, :SIDE], wanted, atol=255 * largest + 2)
    assert browser.complaints() == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_shows_the_page_and_a_finger_moves_the_pointer(dark, browser, tmp_path):
    model = vae(3, nets.BernoulliHead(nets.MLP(3, SIDE**2, hidden=8)))
    page = plots.explorer(model, pictures(), image_shape=(SIDE, SIDE)).save(tmp_path / "e.html")
    browser.open(page, width=390, dark=dark)
    assert browser.fits()
    assert (browser.background() < 60) == dark
    before = browser.run("return code")
    browser.touch("map", 200, 100)
    after = browser.run("return code")
    assert after[:2] != before[:2]
    assert after[2] == before[2]
    assert browser.complaints() == []


def test_what_does_not_fit_is_said():
    conv = vae(4, nets.NormalHead(nets.ConvDecoder(4, (SIDE, SIDE), channels=4)))
    x = pictures()
    for model, call, sentence in (
        (conv, {}, "4 coordinates, and the decoder has an operation that a page does not know, convolution$"),
        (vae(1, nets.NormalHead(nets.MLP(1, SIDE**2))), {}, r"d of at least 2 but have shape \(30, 1\)"),
        (conv, {"labels": torch.arange(30)}, "at most 10 classes but have 30"),
        (conv, {"labels": torch.arange(3)}, r"labels should have shape \(30,\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            plots.explorer(model, x, image_shape=(SIDE, SIDE), **call)
    with pytest.raises(ValueError, match="more than one grey level"):
        plots.explorer(conv, torch.zeros(4, SIDE**2), image_shape=(SIDE, SIDE))


def test_a_page_needs_nothing_from_elsewhere(tmp_path):
    page = plots.explorer(
        vae(2, nets.BernoulliHead(nets.MLP(2, SIDE**2))), pictures(), image_shape=(SIDE, SIDE)
    )
    for word in ("http", "src=", "href=", "import(", "fetch(", "url("):
        assert word not in page.html, word
    assert "@@" not in page.html
    assert "srcdoc=" in page._repr_html_()
    with pytest.raises(ValueError, match=r"path should end in \.html"):
        page.save(tmp_path / "page.txt")
