"""The page of samplers shows draws that the samplers themselves have made, in a real browser."""

import json
import re

import numpy as np
import pytest
import torch
from torch.distributions import Normal, constraints

from probgen import plots, sampling
from probgen.core import Density
from tests.plots.browser import browser, needs_browser

__all__ = ["browser"]  # the fixture


def log_density(x):
    return torch.logaddexp(-((x - 2) ** 2), -0.5 * (x + 2) ** 2)


def on_line(**options):
    wide = Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    rejection = sampling.Rejection(log_density, proposal=wide, log_bound=2.3)
    law = sampling.InverseCDF(log_prob=log_density)
    return plots.sampler_page(law, rejection=rejection, move=walk, draws=60, **options)


def walk(density):
    return sampling.random_walk(density, scale=2.0)


def in_plane(**options):
    banana = sampling.Rosenblatt([Normal(0.0, 1.0), lambda x: Normal(x**2 / 2, 0.5)])
    return plots.sampler_page(banana, move=walk, draws=40, **options)


def record_of(page):
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.html, flags=re.DOTALL
    )
    return json.loads(text)


def numbers(part):
    return {name: torch.tensor(part[name], dtype=torch.float64) for name in part}


def test_uniforms_go_to_their_quantiles():
    law, found = sampling.InverseCDF(log_prob=log_density), record_of(on_line(seed=3))
    part, (low, high) = numbers(found["inverse"]), found["span"][0]
    torch.testing.assert_close(part["x"][:, 0], law.icdf(part["u"][:, 0]).double(), rtol=1e-4, atol=1e-4)
    x = torch.linspace(low, high, 401, dtype=torch.float64)
    torch.testing.assert_close(part["cdf"], law.cdf(x), rtol=1e-4, atol=1e-6)
    density = torch.tensor(found["density"], dtype=torch.float64)
    torch.testing.assert_close(
        density, law.log_prob(x).exp() / (part["cdf"][-1] - part["cdf"][0]), rtol=1e-3, atol=1e-5
    )


def test_proposals_are_judged_by_the_ratio_and_stand_under_the_envelope():
    found = record_of(on_line())
    part = numbers(found["rejection"])
    x, accepted = part["x"][:, 0], part["accepted"].bool()
    ratio = (log_density(x) - 2.3 - Normal(0.0, 3.0).log_prob(x)).exp()
    torch.testing.assert_close(part["ratio"], ratio, rtol=1e-3, atol=1e-5)
    assert torch.equal(accepted, part["u"] < part["ratio"])
    assert 10 < accepted.sum() < 50
    places = torch.linspace(*found["span"][0], 401)
    for value, height, kept in zip(x, part["height"], accepted, strict=True):
        inside = found["span"][0][0] < value < found["span"][0][1]
        density = np.interp(value, places, found["density"])
        assert not inside or height <= np.interp(value, places, found["rejection"]["hat"]) * 1.001
        assert not inside or bool(kept) == (height < density) or abs(height - density) < 1e-3


@pytest.mark.parametrize(("page", "log_prob"), [
    (on_line, lambda x: log_density(x[:, 0])),
    (in_plane, lambda x: -0.5 * x[:, 0] ** 2 - 2 * (x[:, 1] - x[:, 0] ** 2 / 2) ** 2),
])  # fmt: skip
def test_the_walk_goes_where_it_accepts_and_stays_elsewhere(page, log_prob):
    found = record_of(page(seed=5))
    part = numbers(found["walk"])
    start = part["x"][0]
    torch.testing.assert_close(start, numbers(found["inverse"])["x"][0])
    went = torch.where(part["accepted"][:, None] > 0, part["proposal"], part["x"][:-1])
    torch.testing.assert_close(part["x"][1:], went)
    chance = (log_prob(part["proposal"]) - log_prob(part["x"][:-1])).exp().clamp(max=1)
    torch.testing.assert_close(part["chance"], chance, rtol=5e-3, atol=1e-3)
    assert 5 < part["accepted"].sum() < len(chance) - 5


def test_the_walk_of_positive_numbers_is_on_their_own_scale():
    density = Density(lambda x: 2 * x.log() - x, support=constraints.positive)
    part = numbers(record_of(plots.sampler_page(density, move=walk, draws=50))["walk"])
    assert part["x"].min() > 0
    assert part["x"][0] == 1.0
    torch.testing.assert_close(
        part["x"][1:], torch.where(part["accepted"][:, None] > 0, part["proposal"], part["x"][:-1])
    )


def test_the_same_seed_gives_the_same_page():
    assert on_line(seed=1).html == on_line(seed=1).html
    assert on_line(seed=1).html != on_line(seed=2).html


def test_what_cannot_be_shown_is_said():
    other = sampling.Rejection(
        lambda x: -x.abs(), proposal=torch.distributions.Laplace(0.0, 1.0), log_bound=1.0
    )
    law = sampling.InverseCDF(log_prob=log_density)
    smooth = Density(lambda x: -0.5 * x**2)
    for sentence, call in {
        "rejection should be of the law's own density": lambda: plots.sampler_page(law, rejection=other),
        "nothing to show": lambda: plots.sampler_page(smooth),
        r"event shape \(3,\)": lambda: plots.sampler_page(torch.distributions.Dirichlet(torch.ones(3))),
        r"batch shape \(2,\)": lambda: plots.sampler_page(Normal(torch.zeros(2), 1.0)),
        "move should ask for the density once a step": lambda: plots.sampler_page(
            smooth, move=lambda density: sampling.hmc(density, scale=0.5, steps=3)
        ),
    }.items():
        with pytest.raises(ValueError, match=sentence):
            call()


@needs_browser
@pytest.mark.parametrize(
    ("page", "parts"), [(on_line, ["inverse", "rejection", "walk"]), (in_plane, ["walk"])]
)
def test_buttons_step_through_the_draws(page, parts, browser, tmp_path):
    browser.open(page(title="Draws <of> two hills").save(tmp_path / "s.html"))
    assert browser.text("parts").startswith("Inverse transform")
    for part in parts:
        browser.click(f"part-{part}")
        assert browser.text("said").startswith("Before the first of")
        drawn = [browser.drawn("stage")]
        for step in (1, 2, 3, 4):
            browser.click("step")
            assert browser.text("said").startswith(f"Step {step} of ")
            drawn.append(browser.drawn("stage"))
        assert len(set(drawn)) == 5
        browser.click("back")
        assert browser.drawn("stage") == drawn[3]
        browser.click("again")
        assert browser.drawn("stage") == drawn[0]
    browser.run("document.getElementById('speed').value = 6; document.getElementById('play').click()")
    assert browser.text("play") == "Pause"
    browser.driver.set_script_timeout(60)
    browser.driver.execute_async_script(
        "const done = arguments[0], wait = setInterval("
        "() => { if (at === steps()) { clearInterval(wait); done(); } }, 20)"
    )
    assert browser.text("play") == "Play"
    assert browser.complaints() == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_shows_the_page(dark, browser, tmp_path):
    browser.open(on_line().save(tmp_path / "s.html"), width=390, dark=dark)
    assert browser.fits()
    assert (browser.background() < 60) == dark
    browser.run("goTo(30)")
    assert browser.text("said").startswith("Step 30 of 60")


@needs_browser
def test_what_is_drawn_is_the_draw(browser, tmp_path):
    made = on_line()
    found = record_of(made)
    browser.open(made.save(tmp_path / "s.html"), width=700)
    width, height = browser.run(
        "const c = document.getElementById('stage'); return [c.clientWidth, c.clientHeight]"
    )
    left, wide, top, tall = 44, width - 60, 24, 0.54 * height - 40
    low, high = found["span"][0]
    inside = [k for k, (x,) in enumerate(found["inverse"]["x"]) if low < x < high]
    for k in inside[:5]:
        browser.run("goTo(arguments[0])", k + 1)
        u, x = found["inverse"]["u"][k][0], found["inverse"]["x"][k][0]
        across = left + (x - low) / (high - low) * wide
        down = top + tall - 0.5 * u * tall
        ink = browser.run(
            "const pen = document.getElementById('stage').getContext('2d');"
            "return [...pen.getImageData(arguments[0], arguments[1], 1, 1).data]",
            round(across - 0.5), round(down),
        )  # fmt: skip
        assert np.abs(np.array(ink[:3]) - [0xDE, 0x8F, 0x05]).max() < 12, "the way down to the draw"
        assert ink[3] > 100
    browser.run("choose('rejection')")
    for _ in range(3):
        browser.click("step")
    told, part = browser.text("said"), found["rejection"]
    assert ("not below" in told) != bool(part["accepted"][2])
    assert f"so far {sum(part['accepted'][:3])} of 3 accepted" in told


@needs_browser
def test_axes_have_three_numbers_or_more(browser, tmp_path):
    browser.open(on_line().save(tmp_path / "s.html"), width=390)
    for ends, about in (([-4.98, 4.0], 4), ([0, 1], 3), ([-1.2, 3.4], 4), ([9.9, 10.1], 4), ([0, 1000], 12)):
        found = browser.run("return ticks(arguments[0], arguments[1])", ends, about)
        assert 3 <= len(found) <= 2 * about + 1
        assert all(ends[0] - 1e-6 <= v <= ends[1] + 1e-6 for v in found)
    assert browser.run("return ticks([-4.98, 4.0], 4)") == [-4, -2, 0, 2, 4]
