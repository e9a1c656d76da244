"""Sounds as files and as spectrograms: against closed forms, and what is refused."""

import io
import math
import wave

import pytest
import torch

from probgen import data
from probgen.data.log_mel import FLOOR, mel_filters, stft


def tone(frequency, *, rate=8000, seconds=0.5):
    return torch.sin(2 * math.pi * frequency * torch.arange(round(rate * seconds)) / rate)


def test_samples_of_all_sizes_are_read_and_channels_averaged():
    for size, whole, values in (
        (1, [b"\x00", b"\x80", b"\xc0"], [-1.0, 0.0, 0.5]),
        (2, [b"\x00\x80", b"\x00\x00", b"\x00\x40"], [-1.0, 0.0, 0.5]),
        (3, [b"\x00\x00\x80", b"\x00\x00\x00", b"\x00\x00\x40"], [-1.0, 0.0, 0.5]),
        (4, [b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\x00\x00\x00\x40"], [-1.0, 0.0, 0.5]),
    ):
        for channels in (1, 2):
            buffer = io.BytesIO()
            with wave.open(buffer, "wb") as file:
                file.setnchannels(channels)
                file.setsampwidth(size)
                file.setframerate(16000)
                file.writeframes(b"".join(part * channels for part in whole))
            samples, rate = data.read_wav(buffer.getvalue())
            assert (samples.tolist(), rate) == (values, 16000), (size, channels)


def test_what_is_written_is_read_to_half_a_step():
    x = 2 * torch.rand(999, generator=torch.Generator().manual_seed(0)) - 1
    read, _ = data.read_wav(data.wav_bytes(x, 8000))
    assert float((read - x).abs().max()) <= 0.5 / 32768 + 1e-7
    with pytest.raises(ValueError, match=r"in \[−1, 1\] but have shape \(2,\) and magnitudes up to 1.5"):
        data.wav_bytes(torch.tensor([0.0, 1.5]), 8000)
    with pytest.raises(
        ValueError, match=r"a.wav should be a WAV file of whole numbers \(PCM\) but is not: it ends"
    ):
        data.read_wav(b"RIFF no", name="a.wav")


def test_a_tone_is_in_its_band_with_its_power():
    """A Hann window of N samples sums to N / 2: a sine of frequency f_k has the power (N / 4)² there."""
    power = stft(tone(1000.0), window=256, hop=128).abs().square()[:, 10]
    assert int(power.argmax()) == 32
    assert float(power[32]) == pytest.approx(64**2, rel=1e-3)
    filters = mel_filters(8000, 256, 40)
    torch.testing.assert_close(filters.sum(1), torch.ones(40))
    analysis = data.LogMel(8000)
    spectrum = analysis(tone(1000.0))[:, 10]
    band = int(filters[:, 32].argmax())
    assert int(spectrum.argmax()) == band
    expected = math.log(float(filters[band] @ power) + FLOOR)
    assert float(spectrum[band]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(analysis(torch.zeros(4000)), torch.full((40, 32), math.log(FLOOR)))


def test_bands_are_even_on_the_mel_scale():
    """Band k of 40 has its peak at mel (k + 1) of 41 even parts; 4,000 Hz are 2,146.06 mel."""
    filters = mel_filters(8000, 8192, 40)
    mels = torch.arange(1, 41) * 2146.0646 / 41
    hertz = 700 * (10 ** (mels / 2595) - 1)
    torch.testing.assert_close(filters.argmax(1) * 8000 / 8192, hertz, atol=0.5, rtol=0)


def test_phases_are_found():
    """From magnitudes alone a chirp comes back: its spectrum is met to 1 %, and worse at the start."""
    t = torch.arange(4096) / 8000
    chirp = torch.sin(2 * math.pi * (300 + 900 * t) * t)
    magnitudes = stft(chirp, window=256, hop=64).abs()

    def error(iterations):
        source = torch.Generator().manual_seed(0)
        found = data.griffin_lim(magnitudes, window=256, hop=64, iterations=iterations, generator=source)
        return float((stft(found, window=256, hop=64).abs() - magnitudes).norm() / magnitudes.norm())

    assert error(1) > 0.2
    assert error(100) < 0.05
    with pytest.raises(ValueError, match="0 or more and of 129 frequencies but have shape"):
        data.griffin_lim(-magnitudes, window=256, hop=64, generator=torch.Generator())


def test_a_spectrogram_becomes_the_sound_of_a_tone():
    analysis = data.LogMel(8000)
    sound = analysis.sound(analysis(tone(1000.0)))
    loudest = stft(sound, window=256, hop=128).abs().square()[:, 5:-5].mean(1).argmax()
    assert abs(int(loudest) - 32) <= 1, "a band has a width of three frequencies there"
    assert torch.equal(sound, analysis.sound(analysis(tone(1000.0)))), "the seed is that of the phases"


def folder_of(path, names, *, rate=8000, samples=None):
    path.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        x = tone(300.0 + 100 * i, rate=rate) / 2 if samples is None else samples
        (path / name).write_bytes(data.wav_bytes(x, rate))
    return path


def test_a_folder_is_read_by_names(tmp_path):
    folder = folder_of(tmp_path / "own", ["yes_anna_0.wav", "no_bob_3.wav", "no_anna_1.WAV"])
    (folder / "readme.txt").write_text("mine")
    own = data.speech(folder, seconds=0.25)
    assert (own.word_names, own.speaker_names, own.rate) == (["no", "yes"], ["anna", "bob"], 8000)
    assert own.words.tolist() == [0, 0, 1]
    assert own.speakers.tolist() == [0, 1, 0]
    assert own.takes.tolist() == [1, 3, 0]
    assert own.waves.shape == (3, 2000)
    torch.testing.assert_close(own.waves.abs().amax(1), torch.ones(3))
    assert own.read.endswith("3 cut off after 0.25 s; 1 other files left out")


@pytest.mark.parametrize(
    ("names", "samples", "said"),
    [
        (["yes-anna-0.wav"], None, "of its 1 files none is"),
        (["yes_anna_12345678901234567890.wav"], None, "of its 1 files none is"),
        (["yes_anna_0.wav"], torch.zeros(80), r"yes_anna_0.wav of .* is silent there"),
    ],
)
def test_folders_that_do_not_suit_are_refused(tmp_path, names, samples, said):
    with pytest.raises(ValueError, match=said):
        data.speech(folder_of(tmp_path / "own", names, samples=samples))


def test_files_that_do_not_suit_are_refused(tmp_path):
    folder = folder_of(tmp_path / "own", ["yes_anna_0.wav"])
    folder_of(folder, ["yes_anna_1.wav"], rate=16000)
    with pytest.raises(
        ValueError, match=r"yes_anna_0.wav has 8000 samples a second and yes_anna_1.wav 16000"
    ):
        data.speech(folder)
    (folder / "yes_anna_1.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"yes_anna_1.wav should be a WAV file"):
        data.speech(folder)
    with pytest.raises(ValueError, match=r"should be a folder of files WORD_SPEAKER_TAKE.wav but is none"):
        data.speech(folder / "yes_anna_0.wav")


def test_spoken_digits():
    try:
        spoken = data.speech()
    except ConnectionError as error:
        pytest.skip(str(error))
    assert spoken.waves.shape == (3000, 8000)
    assert spoken.word_names == [*"0123456789"]
    assert len(spoken.speaker_names) == 6
    assert (torch.bincount(spoken.words * 6 + spoken.speakers) == 50).all()
