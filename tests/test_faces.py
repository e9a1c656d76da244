"""What users import from: the rooms are there after one import, and show their public names alone."""

import importlib
import operator
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import probgen as pg

ROOMS = ["data", "evaluation", "mmd", "models", "nets", "objectives", "plots", "priors", "recipes"]
ROOMS += ["sampling", "training"]


def test_every_room_is_there_after_one_import():
    code = f"import probgen as pg; print(*(getattr(pg, room).__name__ for room in {ROOMS}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [f"probgen.{room}" for room in ROOMS]
    assert found.stderr == ""


def test_what_is_heavy_is_loaded_when_it_is_used():
    heavy = ["arviz", "joblib", "lightning_fabric", "matplotlib", "pandas", "pooch", "scipy", "seaborn"]
    heavy += ["selenium", "sklearn", "typer"]
    code = f"import sys, probgen; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_citation_has_the_version_of_the_package():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("room", [*ROOMS, "applications", "compare", "core"])
def test_a_face_says_what_is_in_it_and_what_to_read_first(room):
    face = importlib.import_module(f"probgen.{room}".rstrip("."))
    text = " ".join(face.__doc__.split())
    assert "Read first" in text
    named = re.findall(r"``(\w+)``", text.partition("Read first")[2])
    assert [name for name in named if not hasattr(face, name)] == []


def test_help_of_the_package_leads_to_what_is_there():
    for path in re.findall(r"``help\(probgen\.([\w.]+)\)``", pg.__doc__):
        assert operator.attrgetter(path)(pg).__doc__, path
    assert all(f"``{room}``" in pg.__doc__ for room in ROOMS)


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
