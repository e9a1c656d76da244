"""Sound as log-mel spectrograms, and back to sound by the algorithm of Griffin and Lim."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.core import check_count

FLOOR = 1e-2
"""Power that is added to each band: what is 50 dB below the loudest of a sound of peak 1 is silence."""

MOMENTUM = 0.99


class LogMel:
    r"""Log-mel spectrograms of sounds: log(M |STFT|² + 0.01), bands by frames, and sounds of them.

    Windows (Hann) have 32 ms and follow one another by 16 ms. M has triangular bands that are even on the mel
    scale, 2595 log₁₀(1 + f / 700), from 0 to half the rate, each with weights of sum 1.

    Args:
        rate: samples a second.
        bands: of the mel scale.

    >>> analysis = LogMel(8000)
    >>> analysis(torch.zeros(3, 8000)).shape, analysis.sound(torch.zeros(3, 40, 63)).shape
    (torch.Size([3, 40, 63]), torch.Size([3, 7936]))
    """

    def __init__(self, rate: int, *, bands: int = 40) -> None:
        self.rate, self.bands = check_count("rate", rate, least=1000), check_count("bands", bands, least=2)
        self.hop = round(rate * 0.016 / 2) * 2
        self.window = 2 * self.hop
        self.filters = mel_filters(rate, self.window, bands)

    def __call__(self, waves: Tensor) -> Tensor:
        r"""Return spectrograms (\*batch, bands, 1 + samples // hop) of sounds (\*batch, samples)."""
        power = stft(waves, window=self.window, hop=self.hop).abs().square()
        return (self.filters.to(power) @ power + FLOOR).log()

    def sound(self, spectrograms: Tensor, *, iterations: int = 32, seed: int = 0) -> Tensor:
        r"""Return sounds (\*batch, samples) of spectrograms (\*batch, bands, frames).

        Powers of frequencies are the least-squares solution of those of bands, those below 0 put to 0.
        Between two frames another is put at the mean of their logarithms: phases are found from windows that
        overlap by three quarters.

        Args:
            iterations: of :func:`griffin_lim`.
            seed: of the phases that it begins with.
        """
        between = (spectrograms[..., 1:] + spectrograms[..., :-1]) / 2
        fine = spectrograms.repeat_interleave(2, -1)[..., :-1].clone()
        fine[..., 1::2] = between
        power = torch.linalg.pinv(self.filters).to(fine) @ (fine.exp() - FLOOR)
        magnitudes = power.clamp(min=0).sqrt()
        source = torch.Generator(magnitudes.device).manual_seed(seed)
        return griffin_lim(
            magnitudes, window=self.window, hop=self.hop // 2, iterations=iterations, generator=source
        )


def mel_filters(rate: int, window: int, bands: int) -> Tensor:
    """Return triangular bands that are even on the mel scale, (bands, window // 2 + 1), float32.

    A band that is narrower than the distance of two frequencies has at least the nearest one.
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    weights = torch.minimum(up, down).clamp(min=0)
    nearest = (frequencies - centre).abs().argmin(1)
    rows = torch.arange(bands)
    weights[rows, nearest] = weights[rows, nearest].clamp(min=1e-3)
    return (weights / weights.sum(1, keepdim=True)).float()


def stft(waves: Tensor, *, window: int, hop: int) -> Tensor:
    r"""Return the short-time Fourier transform of (\*batch, samples) with Hann windows, centred on frames."""
    taper = torch.hann_window(window, dtype=waves.dtype, device=waves.device)
    found = torch.stft(
        waves.reshape(-1, waves.shape[-1]),
        window,
        hop,
        window=taper,
        pad_mode="constant",
        return_complex=True,
    )
    return found.reshape(*waves.shape[:-1], *found.shape[1:])


def griffin_lim(
    magnitudes: Tensor, *, window: int, hop: int, iterations: int = 32, generator: torch.Generator
) -> Tensor:
    r"""Return sounds (\*batch, samples) whose short-time spectra have about these magnitudes.

    From random phases on, a spectrum C with the magnitudes S is made one of a sound, P(C) = STFT(ISTFT(C)),
    and its phases are kept: t_n = P(S e^{i∠c_{n−1}}), c_n = t_n + α (t_n − t_{n−1}), with α = 0.99.

    Args:
        magnitudes: S, shape (\*batch, window // 2 + 1, frames), 0 or more.
        window, hop: of the transform, as :func:`stft` has them.
        iterations: at least 1.
        generator: of the phases.

    Raises ValueError for magnitudes of another shape, below 0 or not finite.

    Source: Griffin and Lim (1984), Signal estimation from modified short-time Fourier transform; Perraudin,
    Balazs and Søndergaard (2013), A fast Griffin-Lim algorithm, for α.
    """
    iterations = check_count("iterations", iterations)
    rows = magnitudes.shape[-2] if magnitudes.dim() > 1 else 0
    if rows != window // 2 + 1 or not bool(((magnitudes >= 0) & magnitudes.isfinite()).all()):
        raise ValueError(
            f"magnitudes should be finite, 0 or more and of {window // 2 + 1} frequencies but have shape "
            f"{tuple(magnitudes.shape)} and values from {float(magnitudes.min()):g} to "
            f"{float(magnitudes.max()):g}"
        )
    flat = magnitudes.reshape(-1, *magnitudes.shape[-2:])
    taper = torch.hann_window(window, dtype=flat.dtype, device=flat.device)
    angles = 2 * math.pi * torch.rand(flat.shape, generator=generator, dtype=flat.dtype, device=flat.device)
    spectrum, last = torch.polar(flat, angles), torch.zeros_like(flat)
    waves = torch.istft(spectrum, window, hop, window=taper)
    for _ in range(iterations):
        of_a_sound = stft(waves, window=window, hop=hop)
        moved = of_a_sound + MOMENTUM * (of_a_sound - last)
        spectrum = torch.polar(flat, moved.angle())
        last = of_a_sound
        waves = torch.istft(spectrum, window, hop, window=taper)
    return waves.reshape(*magnitudes.shape[:-2], waves.shape[-1])
