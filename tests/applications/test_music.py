"""Music: a folder of made MIDI files through the smallest path, and what is refused."""

import pandas as pd
import pytest
import torch

from probgen import applications, data
from probgen.applications.parts.music.hidden_markov import hidden_markov
from probgen.recipes import Task
from probgen.recipes.tasks import padded


def made(path, *, pieces=20, steps=20):
    """Write pieces of major chords that walk up and down."""
    path.mkdir()
    for number in range(pieces):
        piece = torch.zeros(steps, 88)
        for step in range(steps):
            root = 30 + number % 5 + (step * (1 + number % 3)) % 12
            piece[step, [root, root + 4, root + 7]] = 1
        data.write_midi(path / f"{number:02}.mid", piece)
    return path


def test_pieces_are_written_judged_and_heard(tmp_path):
    own = made(tmp_path / "own")
    folder = applications.apply("music", data=own, out=tmp_path / "here", size="tiny", progress=False)
    frame = pd.read_csv(folder / "metrics.csv")
    found = frame.pivot_table(index="method", columns="metric", values="value")
    assert set(found.index) == {
        "music-vae", "DMM", "RNN-mixture", "RNN-NADE", "HMM", "shuffled real music", "real music"
    }  # fmt: skip
    assert found.loc["real music", "transitions"] < found.loc["shuffled real music", "transitions"]
    assert found.loc["HMM", "nats"] < found.loc["music-vae", "nats"], "two steps teach little"
    assert found["copied"].between(0, 1).all()
    read = data.read_midi(folder / "real-held-out.mid")
    assert read.sum(1).max() == 3
    for name in ("piano-rolls.png", "nearest-training-pieces.png", "statistics.csv", "HMM.wav", "DMM.mid"):
        assert (folder / name).exists(), name


def test_as_many_states_are_chosen_as_there_are():
    """Of chords that go round in a ring of four."""
    ring = torch.eye(4)
    pieces = [torch.stack([ring[(start + step) % 4] for step in range(16)]) for start in range(12)]
    train, valid = (padded(part, 16, "cpu") for part in (pieces[:8], pieces[8:]))
    task = Task("ring", "music", train, valid, valid, {})
    model = hidden_markov(task, (1, 2, 8), iterations=30, seed=0)
    assert len(model.start) == 8, "of fewer than four there is one that stands for two chords"
    assert hidden_markov(task, (1,), iterations=2, seed=0).start.shape == (1,)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"pieces": 19}, r"should hold 20 to 2,000 MIDI files, \.mid, but holds 19"),
     ({"steps": 15}, "should have 16 beats at least but has 15")],
)  # fmt: skip
def test_folders_that_do_not_suit_are_refused(tmp_path, options, said):
    own = made(tmp_path / "own", **options)
    with pytest.raises(ValueError, match=said):
        applications.apply("music", data=own, out=tmp_path / "here", size="tiny", progress=False)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "own.mid").write_bytes(b"")
    with pytest.raises(ValueError, match=r"should be a folder of MIDI files, \.mid, but is none"):
        applications.apply(
            "music", data=tmp_path / "own.mid", out=tmp_path / "here", size="tiny", progress=False
        )
