"""Sound as WAV files, read and written by Python's own module."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FULL_SCALE = {1: 128, 2: 32768, 3: 8388608, 4: 2147483648}
"""The number that stands for 1, by the bytes of a sample."""


def read_wav(source: str | Path | bytes, *, name: str = "") -> tuple[Tensor, int]:
    """Return the samples of a WAV file, float32 in [−1, 1], and how many there are in a second.

    Channels are averaged. Samples are whole numbers of 1 to 4 bytes (PCM).

    Args:
        source: the path of the file, or its bytes, which ``name`` stands for in an error.

    Raises ValueError for a file that is none, of another coding, or without samples.

    >>> samples, rate = read_wav(wav_bytes(torch.tensor([0.0, 0.5, -1.0]), 8000))
    >>> samples.tolist(), rate
    ([0.0, 0.5, -1.0], 8000)
    """
    name = name or (str(source) if not isinstance(source, bytes) else "a WAV file")
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "rb") as file:
            channels, size, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{name} should be a WAV file of whole numbers (PCM) but is not: {str(error) or 'it ends early'}"
        ) from None
    if size not in FULL_SCALE or rate < 1:
        raise ValueError(f"{name} should have samples of 1 to 4 bytes but has samples of {size}")
    content = content[: len(content) // (size * channels) * size * channels]  # where a last one is cut off
    if not content:
        raise ValueError(f"{name} should hold some samples but holds none")
    if size == 1:  # bytes from 0 on, others with a sign
        values = np.frombuffer(content, np.uint8).astype(np.int64) - 128
    elif size == 3:
        parts = np.frombuffer(content, np.uint8).reshape(-1, 3).astype(np.int64)
        values = parts[:, 0] + 256 * parts[:, 1] + 65536 * parts[:, 2]
        values = np.where(values >= 8388608, values - 16777216, values)
    else:
        values = np.frombuffer(content, f"<i{size}").astype(np.int64)
    samples = values.reshape(-1, channels).mean(1) / FULL_SCALE[size]
    return torch.from_numpy(samples.astype(np.float32)), rate


def wav_bytes(samples: Tensor, rate: int) -> bytes:
    """Return a WAV file of one channel and 16 bits as bytes.

    Raises ValueError for samples that are no sequence, not finite, or beyond −1 and 1.
    """
    if samples.dim() != 1 or not len(samples) or not bool((samples.abs() <= 1).all()):
        most = float(samples.abs().max()) if samples.numel() else 0.0
        raise ValueError(
            f"samples should be a sequence of numbers in [−1, 1] but have shape {tuple(samples.shape)} and "
            f"magnitudes up to {most:g}"
        )
    numbers = (samples.detach().cpu().double() * 32768).round().clamp(max=32767)  # 1 itself has no place
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(numbers.numpy().astype("<i2").tobytes())
    return buffer.getvalue()
