"""What users import from: the rooms are there after one import, and show their public names alone."""

import importlib
import subprocess
import sys

import pytest

import probgen as pg

ROOMS = ["data", "evaluation", "mmd", "models", "nets", "objectives", "plots", "priors", "recipes"]
ROOMS += ["sampling", "training"]


def test_every_room_is_there_after_one_import():
    code = f"import probgen as pg; print(*(getattr(pg, room).__name__ for room in {ROOMS}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [f"probgen.{room}" for room in ROOMS]
    assert found.stderr == ""


def test_there_is_a_version_and_no_other_name():
    assert pg.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="has no attribute 'modles'"):
        _ = pg.modles


@pytest.mark.parametrize("room", [*ROOMS, "core", "compare", ""])
def test_a_face_shows_its_public_names_alone(room):
    face = importlib.import_module(f"probgen.{room}".rstrip("."))
    assert dir(face) == sorted(face.__all__)
    assert len(set(face.__all__)) == len(face.__all__)
    assert all(hasattr(face, name) for name in face.__all__)
