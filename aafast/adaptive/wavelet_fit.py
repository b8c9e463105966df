"""The normal equations of a wavelet: what fits w in ||target - w * z||^2, from correlations instead of products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normal_equations(z: Tensor, target: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """G [B, taps, taps] and g [B, taps] with G w = g where w minimises ||target - w * z||^2, traces together.

    G[j, k] = sum_t z[t - j + h] z[t - k + h] and g[k] = sum_t target[t] z[t - k + h] over t = 0 to T - 1, h half the
    taps, z zero outside. Down a diagonal of G only what enters and leaves at the ends of the trace changes, so its
    first row, which is a correlation, gives all of it: K T log T + K^2 per trace in the place of K^2 T. No sum over all
    samples is split among threads, whose number would show in the last bits.

    z, target: [B, 1, T, X].
    """
    z, target = z[:, 0], target[:, 0]
    time, half = z.shape[1], taps // 2
    late = z.clone()
    late[:, :half] = 0  # in the first row z[t + h] begins at h
    length = time + taps + (time + taps) % 2
    spectrum = torch.fft.rfft(z, length, dim=1).conj()
    products = [(torch.fft.rfft(image, length, dim=1) * spectrum).sum(2) for image in (late, target)]
    row, right = torch.fft.irfft(torch.stack(products), length, dim=2)
    right = right.roll(half, 1)[:, :taps]

    padded = F.pad(z, (0, 0, taps, taps))
    entering = padded[:, half : taps + half].flip(1)
    leaving = padded[:, time + half : time + taps + half].flip(1)
    change = entering @ entering.mT - leaving @ leaving.mT  # of G from (j, k) to (j + 1, k + 1)
    place = torch.arange(taps, device=z.device)
    lag, first = (place - place[:, None]).abs(), torch.minimum(place, place[:, None])
    beside = place + place[:, None]  # [lag, j]: the k that lies this far from j
    along = torch.where(beside < taps, change[:, place.expand(taps, taps), beside.clamp(max=taps - 1)], 0)
    before = along.cumsum(2) - along
    return row[:, :taps][:, lag] + before[:, lag, first], right
