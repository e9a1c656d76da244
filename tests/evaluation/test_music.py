"""Statistics of music counted by hand, and what shuffling the steps does to them."""

import math

import pandas as pd
import pytest
import torch

from probgen import data, evaluation


def piece(*chords):
    """Return a piece of chords of MIDI pitches."""
    roll = torch.zeros(len(chords), 88)
    for step, chord in enumerate(chords):
        roll[step, [pitch - 21 for pitch in chord]] = 1
    return roll


def test_statistics_are_as_counted_by_hand():
    """C E G, C E G, C F A, B F (a semitone to nothing), C with the bass a fifth up at the end."""
    own = piece((60, 64, 67), (60, 64, 67), (60, 65, 69), (59, 65), (66, 67))
    found = evaluation.music_statistics([own]).iloc[0]
    assert found["polyphony"] == pytest.approx(13 / 5)
    assert found["scale consistency"] == pytest.approx(12 / 13), "F sharp alone is not in C major"
    counts = [3, 2, 3, 2, 1, 1, 1]  # C, E, G, F, A, B, F sharp
    entropy = -sum(c / 13 * math.log2(c / 13) for c in counts)
    assert found["pitch-class entropy"] == pytest.approx(entropy)
    assert found["semitones"] == pytest.approx(1 / 5), "F sharp and G"
    assert found["repeats"] == pytest.approx(1 / 4)
    assert found["held notes"] == pytest.approx((3 + 1 + 1 + 0) / (3 + 3 + 2 + 2))
    assert found["leaps"] == pytest.approx((0 + 2 + 4 + 2) / 4)
    assert found["bass by fifths"] == pytest.approx(1 / 2), "C to B, and B to F sharp"


def test_b_and_c_are_a_semitone_apart():
    assert evaluation.music_statistics([piece((59, 72))])["semitones"].tolist() == [1]


def test_one_step_has_no_transitions_and_silence_is_refused():
    found = evaluation.music_statistics([piece((60, 64))]).iloc[0]
    assert found[["repeats", "held notes", "leaps", "bass by fifths"]].isna().all()
    with pytest.raises(ValueError, match="not silent, but one has shape"):
        evaluation.music_statistics([torch.zeros(4, 88)])


def test_distances_are_those_of_distribution_functions():
    x, y = (
        pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [math.nan] * 4}),
        pd.DataFrame({"a": [3.0, 5], "b": [1.0, 2]}),
    )
    assert evaluation.statistics_distance(x, y) == {"a": 0.5, "b": 1.0}
    assert evaluation.statistics_distance(x, x)["a"] == 0
    many = [pd.DataFrame({"a": [0.0] * zeros + [1.0] * (27 - zeros)}) for zeros in (0, 1)]
    assert evaluation.statistics_distance(*many)["a"] == pytest.approx(1 / 27), "without a warning"


def test_copies_are_found_and_held_chords_are_no_ones_own():
    known = [piece(*[(60 + i,) for i in range(8)])]
    assert evaluation.copied_share([known[0][2:]], known) == 1
    assert evaluation.copied_share([piece(*[(61 + 2 * i,) for i in range(6)])], known) == 0
    with pytest.raises(ValueError, match="that are not all alike but have none"):
        evaluation.copied_share([piece(*[(60,)] * 6)], known)
    number, place, differ = evaluation.nearest_passage(known[0][3:7], [piece(*[(80,)] * 9), *known])
    assert (number, place, differ) == (1, 3, 0.0)


def test_shuffling_changes_transitions_alone():
    try:
        chorales = data.chorales()
    except ConnectionError as error:
        pytest.skip(str(error))
    real = evaluation.music_statistics(chorales.test)
    shuffled = evaluation.music_statistics(
        [own[torch.randperm(len(own), generator=torch.Generator().manual_seed(0))] for own in chorales.test]
    )
    distances = evaluation.statistics_distance(shuffled, real)
    assert all(distances[name] < 1e-9 for name in ("polyphony", "scale consistency", "semitones"))
    assert all(distances[name] > 0.5 for name in ("repeats", "held notes", "leaps"))
    assert real["repeats"].mean() == pytest.approx(0.103, abs=0.002)
