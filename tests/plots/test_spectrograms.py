"""Spectrograms: what stands where, in one scale of colours."""

import pytest
import torch

from probgen import plots


def test_rows_of_panels_share_a_scale():
    quiet, loud = torch.zeros(4, 10), torch.full((4, 10), 3.0)
    figure = plots.spectrograms({"real": [quiet, loud], "drawn": [loud, quiet]}, heads=["0", "1"], frame=0.1)
    images = [axis.images[0] for axis in figure.axes]
    assert len(images) == 4
    assert {image.get_clim() for image in images} == {(0.0, 3.0)}
    assert images[0].get_extent() == [0, 1.0, 0, 4]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["0", "1", "", ""]


@pytest.mark.parametrize(
    ("sounds", "said"),
    [
        ({}, "as many spectrograms in each entry, at least 1"),
        ({"a": [torch.zeros(2, 2)], "b": []}, "as many spectrograms in each entry"),
        ({"a": [torch.zeros(2)]}, r"of shape \(bands, frames\) but one has shape \(2,\)"),
    ],
)
def test_other_shapes_are_refused(sounds, said):
    with pytest.raises(ValueError, match=said):
        plots.spectrograms(sounds)
