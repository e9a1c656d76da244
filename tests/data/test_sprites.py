"""Sprites: which pixels are white, by the geometry of each shape; and files like that of dSprites."""

import hashlib
import math
import zipfile

import numpy as np
import pytest
import torch

from probgen import data
from probgen.data.sprites import SHAPES, split_of_sprites

STAMPS = "9ce986e5bc8fb96f63919100ef96eafdb0118ede9f35633d4988601068dfe1f3"
SPLIT = "2a473b1315adfb101b04025548c75a7fb9b017b2bbf9a2f2079697650b1c3740"


@pytest.fixture(scope="module")
def sprites():
    return data.Sprites()


def square(sprites, *classes):
    """The pictures of rows of classes, as squares."""
    return sprites[sprites.index(torch.tensor(classes))].reshape(-1, 64, 64)


def test_the_shapes_and_the_split_are_frozen(sprites):
    assert hashlib.sha256(sprites._stamps.numpy().tobytes()).hexdigest() == STAMPS
    assert hashlib.sha256(split_of_sprites().numpy().tobytes()).hexdigest() == SPLIT


def test_the_set_for_recipes_is_of_these_pictures(sprites):
    images, split = data.sprites(), split_of_sprites()
    assert (images.train.shape, images.test.shape) == ((10_000, 4096), (2_000, 4096))
    assert (images.train.dtype, images.train_labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(images.test[-5:], sprites[split[-5:]])
    labels = torch.cat([images.train_labels, images.test_labels])
    assert torch.equal(labels, sprites.classes(split)[:, 0])
    assert len(split.unique()) == len(split)
    assert images.train.unique().tolist() == [0, 1]


def test_factors_and_places_in_the_file_are_one_to_one(sprites):
    assert len(sprites) == 737_280
    index = torch.randint(len(sprites), (500,))
    assert torch.equal(sprites.index(sprites.classes(index)), index)
    expected = np.stack(np.unravel_index(index.numpy(), (3, 6, 40, 32, 32)), 1)
    assert sprites.classes(index).tolist() == expected.tolist()
    assert list(sprites.values) == ["shape", "scale", "orientation", "x", "y"]
    assert sprites.values["scale"] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@pytest.mark.parametrize("shape", range(3), ids=SHAPES)
def test_a_step_of_x_is_a_pixel_to_the_right_and_one_of_y_a_pixel_down(shape, sprites):
    start, right, down = square(sprites, *[[shape, 3, 11, 7 + x, 9 + y] for x, y in ((0, 0), (1, 0), (0, 1))])
    assert torch.equal(right, start.roll(1, 1))
    assert torch.equal(down, start.roll(1, 0))
    assert not torch.equal(right, start)


def test_shapes_at_the_edge_are_whole(sprites):
    corners = [[s, 5, o, x, y] for s in range(3) for o in range(40) for x in (0, 31) for y in (0, 31)]
    middle = [[s, 5, o, 16, 16] for s, _, o, _, _ in corners]
    assert torch.equal(square(sprites, *corners).sum((1, 2)), square(sprites, *middle).sum((1, 2)))


def test_areas_are_those_of_the_shapes_and_grow_with_the_square_of_the_scale(sprites):
    # (2a)² of the square, πab of the ellipse; of the heart the integral of its width, by a fine grid.
    grid = np.linspace(-1.5, 1.5, 3001)
    u, v = grid[:, None], grid[None, :]
    heart = ((u**2 + v**2 - 1) ** 3 < u**2 * v**3).mean() * 9 * 11.3**2
    full = [21.6**2, math.pi * 15.3 * 8.1, heart]
    for shape, area in enumerate(full):
        for step, scale in enumerate(sprites.values["scale"]):
            found = square(sprites, *[[shape, step, o, 16, 16] for o in range(39)]).sum((1, 2)).mean()
            assert float(found) == pytest.approx(area * scale**2, rel=0.02)


def test_orientation_turns_counterclockwise_and_ends_where_it_began(sprites):
    first, last = square(sprites, [2, 5, 0, 16, 16], [2, 5, 39, 16, 16])
    assert torch.equal(first, last)
    tilted = square(sprites, [1, 5, 5, 16, 16])[0].nonzero().double()  # 46 degrees: up to the right
    rows, columns = (tilted - tilted.mean(0)).unbind(1)
    angle = 0.5 * math.atan2(-2 * float((rows * columns).sum()), float((columns**2 - rows**2).sum()))
    assert angle == pytest.approx(5 / 39 * 2 * math.pi, abs=0.03)


def test_a_heart_points_down_and_is_even_from_left_to_right(sprites):
    heart = square(sprites, [2, 5, 0, 16, 16])[0]
    columns, rows = heart.sum(0), heart.sum(1)
    centre = 32  # 16 pixels from the edge, at the 16th step
    assert torch.equal(columns[centre - 16 : centre], columns[centre + 1 : centre + 17].flip(0))
    inside = rows.nonzero().squeeze(1)
    assert rows[inside[0]] > rows[inside[-1]]


def test_draws_follow_their_generator_and_reach_every_value(sprites):
    draws = [sprites.draw(2000, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    (first, classes), (again, _), (other, _) = draws
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, sprites[sprites.index(classes)])
    for column, size in enumerate(sprites.sizes):
        assert len(classes[:, column].unique()) == size


@pytest.fixture
def file(tmp_path):
    """A small file like that of dSprites, with a pickled part that should never be read."""
    sizes = (1, 3, 2, 2, 2, 2)
    classes = np.stack(np.unravel_index(np.arange(48), sizes), 1)
    pictures = np.random.default_rng(0).integers(0, 2, (48, 5, 7)).astype(np.uint8)
    parts = {"latents_classes": classes, "latents_values": classes / 2 + 1.0, "imgs": pictures}

    def write(**other):
        path = tmp_path / "dsprites.npz"
        np.savez_compressed(path, metadata=np.array({"version": 1}, dtype=object), **(parts | other))
        return path

    return write, classes, pictures


def test_a_file_of_dsprites_is_read_bit_by_bit(file):
    write, classes, pictures = file
    found = data.DSprites(write())
    index = torch.randperm(48)
    assert torch.equal(found[index], torch.from_numpy(pictures[index.numpy()]).flatten(1).float())
    assert torch.equal(found.classes(index), torch.from_numpy(classes)[index])
    assert list(found.values) == ["color", "shape", "scale", "orientation", "x", "y"]
    assert found.values["shape"] == (1.0, 1.5, 2.0)
    assert (len(found), found.image_shape, found.sizes) == (48, (5, 7), (1, 3, 2, 2, 2, 2))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"imgs": np.zeros((48, 5, 7))}, "is not: its pictures are float64 of shape"),
        ({"imgs": np.full((48, 5, 7), 2, np.uint8)}, "its pixels are not 0 and 1"),
        ({"imgs": np.zeros((47, 5, 7), np.uint8)}, r"in row-major order, 48 pictures, .* holds 47"),
        ({"latents_classes": np.zeros((48, 6), int)}, "each combination of its factors once"),
        ({"latents_classes": np.zeros((48, 5), int)}, r"for each of color, shape, .* has shape \(48, 5\)"),
        ({"latents_values": np.array([None] * 3)}, "is not: Object arrays cannot be loaded"),
    ],
)
def test_another_file_is_refused(file, other, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.DSprites(file[0](**other))


def test_what_is_no_archive_or_lacks_a_part_is_refused(tmp_path):
    path = tmp_path / "text.npz"
    path.write_text("no archive")
    with pytest.raises(ValueError, match=r"the npz file of dSprites but .* is not: File is not a zip file"):
        data.DSprites(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(ValueError, match=r"no item named .latents_classes\.npy."):
        data.DSprites(path)


def test_factors_out_of_range_are_named(sprites):
    with pytest.raises(ValueError, match="classes of 'scale' should be 0 to 5 but hold 1 to 6"):
        sprites.index(torch.tensor([[0, 1, 0, 0, 0], [0, 6, 0, 0, 0]]))
    with pytest.raises(ValueError, match="one column for each of shape, scale"):
        sprites.index(torch.tensor([[0, 1, 0]]))
    with pytest.raises(ValueError, match="index should be 0 to 737279 but holds -1 to 5"):
        sprites[torch.tensor([-1, 5])]


def test_attributes_tell_the_factors_of_a_picture():
    pictures = data.Sprites()
    classes = torch.tensor([[0, 0, 0, 0, 0], [2, 5, 13, 31, 16], [1, 3, 39, 0, 31]])
    found = pictures.attributes(pictures.index(classes))
    turn = 2 * torch.pi / 39 * 13
    expected = [
        [1, 0, 0, -1, 1, 0, -1, -1],
        [0, 0, 1, 1, float(torch.tensor(turn).cos()), float(torch.tensor(turn).sin()), 1, 1 / 31],
        [0, 1, 0, 0.2, 1, 0, -1, 1],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)
