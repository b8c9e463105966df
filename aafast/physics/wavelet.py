"""Convolution of reflectivity with a seismic wavelet along the time axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import COMPUTE_DTYPES
from ..errors import InputError, describe
from ..ops import correlate_time
from .base import ForwardModel


class WaveletConvolution(ForwardModel):
    """The convolutional model of a seismic trace with one wavelet, or one per sample.

    (A x)[t] = sum_k w[k] x[t - (k - K // 2)], zero outside the section (paper section 6, A0 as a Toeplitz matrix).

    wavelet: [K] or [B, K], float32 or float64, K odd, centred on its middle sample; no unit of its own.
    Acts on images [B, 1, T, X] (T time samples, X traces). Raises InputError on a bad wavelet.
    """

    def __init__(self, wavelet: Tensor) -> None:
        if not isinstance(wavelet, Tensor) or wavelet.dtype not in COMPUTE_DTYPES or wavelet.ndim not in (1, 2):
            got = f"{wavelet.dtype} {list(wavelet.shape)}" if isinstance(wavelet, Tensor) else type(wavelet).__name__
            raise InputError(
                describe(
                    "wavelet",
                    got,
                    "a float32 or float64 tensor [K] or [B, K]",
                    "Convert it by torch.as_tensor",
                )
            )
        if wavelet.shape[-1] % 2 == 0 or wavelet.numel() == 0:
            raise InputError(
                describe(
                    "number of wavelet taps",
                    wavelet.shape[-1],
                    "an odd number, the middle one at time zero",
                    "Pad the wavelet with one zero",
                )
            )
        if not torch.isfinite(wavelet).all() or not (wavelet != 0).any(dim=-1).all():
            raise InputError(
                describe(
                    "wavelet",
                    "NaN, Inf or only zeros",
                    "finite taps, not all zero",
                    "Check the wavelet's source",
                )
            )
        self.wavelet = wavelet.reshape(-1, wavelet.shape[-1])
        self._factor: tuple[tuple[int, float, int], Tensor] | None = None

    @classmethod
    def unchecked(cls, wavelet: Tensor) -> WaveletConvolution:
        """The model of wavelets [1 or B, K] that were checked before, or that a solver has moved.

        Looking at their values would end a whole batch where one sample has diverged, and would wait for the device.
        """
        model = cls.__new__(cls)
        model.wavelet, model._factor = wavelet, None
        return model

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != 1:
            raise InputError(describe("shape of a section", list(x.shape), "[B, 1, T, X]", "Add the channel axis"))
        if len(self.wavelet) not in (1, len(x)):
            raise InputError(
                describe(
                    "number of wavelets",
                    len(self.wavelet),
                    f"1 or the batch size {len(x)}",
                    "Pass one wavelet, or one per sample",
                )
            )

    def A(self, x: Tensor) -> Tensor:
        self._check(x)
        return correlate_time(x, self.wavelet.flip(1))

    def A_adjoint(self, y: Tensor) -> Tensor:
        self._check(y)
        return correlate_time(y, self.wavelet)

    def norm(self, x: Tensor) -> Tensor:
        """The bound max_f |W(f)| per sample [B]; it is reached as T grows."""
        spectrum = torch.fft.rfft(self.wavelet, n=8 * self.wavelet.shape[1]).abs().amax(dim=1)
        return spectrum.expand(len(x))

    def solve_normal(self, rhs: Tensor, mu: float) -> Tensor:
        """Solve (A^T A + mu I) z = rhs by a Cholesky factor per wavelet, kept for the next call; [B, 1, T, X].

        z is NaN for a wavelet whose system is not positive definite in its precision (mu too small, or not finite).
        """
        self._check(rhs)
        factor = self._cholesky(rhs.shape[2], mu)
        if len(factor) == 1:  # one factor for all: every trace of the batch is a column of one system
            batch, _, time, traces = rhs.shape
            columns = rhs[:, 0].transpose(0, 1).reshape(time, batch * traces)
            solved = torch.cholesky_solve(columns, factor[0])
            return solved.reshape(time, batch, traces).transpose(0, 1).unsqueeze(1)
        return torch.cholesky_solve(rhs[:, 0], factor).unsqueeze(1)

    def _cholesky(self, time: int, mu: float) -> Tensor:
        """The factor of A^T A + mu I on traces of `time` samples: [1 or B, T, T]."""
        wavelet = self.wavelet
        if torch.compiler.is_compiling():
            return self._factorise(time, mu)  # a graph can neither tell whether the wavelet was written to nor keep
        if wavelet.is_inference() or (torch.is_grad_enabled() and wavelet.requires_grad):
            return self._factorise(time, mu)  # its writes are not counted, or a graph belongs to one backward alone
        key = (time, mu, wavelet._version)
        kept = self._factor  # read once: another thread may put its own there
        if kept is None or kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be met again in training
                kept = self._factor = (key, self._factorise(time, mu))
        return kept[1]

    def _factorise(self, time: int, mu: float) -> Tensor:
        # In double precision, since a library's order of summing changes with its threads: that is lost in rounding.
        gram = self._gram(time)
        eye = torch.eye(time, dtype=gram.dtype, device=gram.device)
        factor, failed = torch.linalg.cholesky_ex(gram + mu * eye)
        return torch.where((failed != 0)[:, None, None], float("nan"), factor).to(self.wavelet.dtype)

    def _gram(self, time: int) -> Tensor:
        """A^T A on traces of `time` samples: [1 or B, T, T] in double precision.

        Inside, the autocorrelation of w by lag; at either end what it has beyond the trace is missing.
        """
        w = self.wavelet.double()
        taps = w.shape[1]
        half, near = taps // 2, min(taps // 2, time)
        lags = F.conv1d(F.pad(w, (taps - 1, taps - 1))[None], w[:, None], groups=len(w))[0]  # 1 - taps to taps - 1
        beyond = F.pad(lags, (time, time))[:, taps : taps + 2 * time - 1]
        gram = beyond.unfold(1, time, 1).flip(1).clone()
        # The taps u - t + half of what lies above the first sample, u < 0.
        above = torch.arange(half, device=w.device)[:, None] - torch.arange(near, device=w.device)
        lost = torch.where(above >= 0, w[:, above.clamp(min=0)], 0)
        gram[:, :near, :near] -= lost.mT @ lost
        below = taps - 1 - above  # the same for u >= T, counted from the last sample
        lost = torch.where(above >= 0, w[:, below.clamp(max=taps - 1)], 0).flip(2)
        gram[:, time - near :, time - near :] -= lost.mT @ lost
        return gram

    def features(self) -> Tensor:
        """The wavelets [1 or B, K]."""
        return self.wavelet

    def select(self, index: int) -> WaveletConvolution:
        if len(self.wavelet) == 1:
            return self
        return WaveletConvolution.unchecked(self.wavelet[index : index + 1])

    def take(self, index: Tensor) -> WaveletConvolution:
        return self if len(self.wavelet) == 1 else WaveletConvolution.unchecked(self.wavelet[index])

    def tensors(self) -> dict[str, Tensor]:
        return {"wavelet": self.wavelet}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> WaveletConvolution:
        moved = self.wavelet.to(device=device, dtype=dtype)
        return self if moved is self.wavelet else WaveletConvolution.unchecked(moved)
