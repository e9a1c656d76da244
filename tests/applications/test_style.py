"""Style: completions with a known truth, leaks of known codes, and the smallest path."""

import shutil
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import torch

from probgen import applications
from probgen.applications.parts.style.completion import (
    bilinear,
    chosen_noise,
    leak,
    moved,
    moved_by,
    movements,
    nearest_font,
    recognised,
    retrieved,
    said_of_leaks,
    splits_of,
)
from probgen.applications.parts.style.posed_fonts import PosedFonts


def made(fonts=60, letters=6, pixels=16, styles=3, *, noise=0.0, seed=0):
    """Fonts of a bilinear law: a mean and a matrix of the style for each letter."""
    source = torch.Generator().manual_seed(seed)
    mean, matrix = torch.rand(letters, pixels), torch.randn(letters, pixels, styles, generator=source)
    style = torch.randn(fonts, styles, generator=source)
    found = mean + torch.einsum("lps,ns->nlp", matrix, style)
    return found + noise * torch.randn(found.shape, generator=source)


def test_a_bilinear_law_is_completed_from_two_letters():
    torch.manual_seed(0)
    x = made()
    given = torch.tensor([1, 4])
    found = bilinear(x[:50], x[50:], given, noise=1e-4)
    torch.testing.assert_close(found, x[50:], atol=0.02, rtol=0)
    assert (nearest_font(x[:50], x[50:], given) - x[50:]).square().mean() > 0.3


def test_the_completion_is_the_posterior_mean_of_the_normal_law():
    """Conditioned as a joint normal law of all pixels, whose covariance is that of the training fonts."""
    torch.manual_seed(0)
    x = made(fonts=12, letters=3, pixels=2, noise=0.1).double()
    train, test, given = x[:10], x[10:], torch.tensor([2])
    mean = train.mean(0).flatten()
    apart = train.flatten(1) - mean
    cov = apart.T @ apart / 10
    known = [4, 5]
    gain = cov[:, known] @ torch.linalg.inv(cov[known][:, known] + 0.3 * torch.eye(2, dtype=x.dtype))
    expected = mean + (test.flatten(1)[:, known] - mean[known]) @ gain.T
    torch.testing.assert_close(bilinear(train, test, given, noise=0.3).flatten(1), expected)


def test_what_is_not_given_has_no_influence():
    x = made()
    changed = x[50:].clone()
    changed[:, [0, 2, 3, 5]] = 9.0
    given = torch.tensor([1, 4])
    for method in (nearest_font, lambda *a: bilinear(*a, noise=0.1)):
        assert torch.equal(method(x[:50], x[50:], given), method(x[:50], changed, given))


def test_more_noise_is_chosen_where_there_is_more():
    families, given = torch.arange(60) % 6, torch.tensor([0, 1])
    assert chosen_noise(splits_of(made(), families), given) == 0.01
    assert chosen_noise(splits_of(made(noise=2.0), families), given) > 0.1


def test_moved_fonts_are_moved_as_wholes():
    x = torch.zeros(2, 3, 81)
    x[..., 40] = 1  # the middle pixel of 9 by 9
    found = moved(x, 9, copies=2, seed=0)
    assert found.shape == (6, 3, 81)
    assert torch.equal(found[:2], x)
    torch.testing.assert_close(found[2:, 0], found[2:, 1])
    assert torch.equal(found, moved(x, 9, copies=2, seed=0))
    assert not torch.allclose(found[2], found[3])


def test_a_font_in_a_pose_that_no_font_had_is_completed():
    """Letters are two squares whose heights a style moves; a font of the same law is slanted and widened."""
    source, size = torch.Generator().manual_seed(0), 12
    style = torch.rand(40, generator=source)
    sheets = torch.zeros(40, 3, size, size)
    for letter, left in enumerate((3, 5, 7)):
        sheets[:, letter, 3:9, left] = 1
        sheets[:, letter, 3 + letter, 3:9] = style[:, None]
    fonts = sheets.flatten(2)
    posed = PosedFonts(fonts[:39], size, poses=12, seed=3)
    turn = movements(12, torch.Generator().manual_seed(3))[7]
    moved_font = moved_by(fonts[39:], turn[None], size)
    given = torch.tensor([1])
    found = posed.completed(moved_font, given, noise=1e-3)
    torch.testing.assert_close(found, moved_font, atol=0.02, rtol=0)
    plain = bilinear(fonts[:39], moved_font, given, noise=1e-3)
    assert (plain - moved_font).square().mean() > 20 * (found - moved_font).square().mean()
    still = posed.completed(fonts[39:], given, noise=1e-3)
    torch.testing.assert_close(still, bilinear(fonts[:39], fonts[39:], given, noise=1e-3), atol=1e-3, rtol=0)


def test_measures_are_as_counted():
    truth, others = (
        torch.eye(4).expand(3, 4, 4) * torch.tensor([1.0, 2, 3])[:, None, None],
        torch.zeros(2, 4, 4),
    )
    assert retrieved(truth, truth, others) == 1
    assert retrieved(truth.flip(0), truth, others) == pytest.approx(1 / 3)
    assert recognised(truth, truth[:, 2:], torch.tensor([2, 3])) == 1
    assert recognised(truth, truth[:, 2:].flip(1), torch.tensor([2, 3])) == 0


def test_a_leak_is_one_by_chance_and_as_many_as_there_are_classes_where_all_is_told():
    torch.manual_seed(0)
    classes = torch.arange(2000) % 5
    probed = torch.arange(2000) >= 1000
    assert leak(torch.randn(2000, 3), classes, probed) == pytest.approx(1, abs=0.28)  # 4.4 deviations
    told = torch.nn.functional.one_hot(classes).float() + 0.01 * torch.randn(2000, 5)
    assert leak(told, classes, probed) == 5


def test_whether_codes_leak_is_said_by_the_interval():
    rows = [("a", "content_leak", k, value) for k, value in enumerate((3.0, 3.2, 2.8))]
    chance = [("a", "style_leak", k, value) for k, value in enumerate((0.9, 1.1, 1.0))]
    assert said_of_leaks(rows + chance) == (
        "Codes leak: a linear probe tells a font from a content 3.0 times as often as by chance and a letter "
        "from a style 1.0 times as often as by chance."
    )
    none = [("a", "content_leak", k, value) for _, _, k, value in chance]
    assert said_of_leaks(none + chance).startswith("No leak of codes is told from chance")


def test_matplotlibs_fonts_are_completed(tmp_path):
    folder = applications.apply(
        "style", data="matplotlib", out=tmp_path / "here", size="tiny", progress=False
    )
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert found.loc["bilinear SVD", "error"] < found.loc["mean letter", "error"]
    assert found.loc["nearest font", "read"] == 1
    assert (found.loc["bilinear VAE, posed"] != found.loc["bilinear SVD, moved"]).any()
    assert found["style_leak"].notna().sum() == 1
    page = (folder / "report.html").read_text()
    assert "a linear probe tells a font from a content" in page
    errors = pd.read_csv(folder / "errors.csv").set_index("method")
    assert list(errors.columns) == ["1", "2", "4", "8", "16"]
    assert (folder / "family-1.png").exists()


def test_fonts_of_too_few_families_are_refused(tmp_path):
    for name in ("DejaVuSans", "DejaVuSerif", "cmr10"):
        shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", tmp_path)
    with pytest.raises(ValueError, match=r"should have fonts of 3 families at least.* but has 2"):
        applications.apply("style", data=tmp_path, out=tmp_path / "out", size="tiny", progress=False)
