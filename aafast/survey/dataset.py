"""Surveys that are open as xarray datasets, such as those of MDIO: from dataset to dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, describe
from .calibrate import calibrate_with
from .gain import smooth_gain
from .section import BATCH, PATCH, Solve, reconstruct_section
from .solver import SolverSpec
from .wavelet import TAPS, estimate_wavelet
from .wavelet_file import parse_wavelet

if TYPE_CHECKING:
    import xarray

_LOOKED_AT = 8  # lines from which a wavelet is estimated
_SHORTEST = 16  # samples of a trace


def reconstruct_dataset(
    ds: xarray.Dataset,
    wavelet: str = "auto",
    model: str = "deconv",
    device: str | None = None,
    *,
    variable: str = "amplitude",
    mask: str = "trace_mask",
    patch: tuple[int, int] = PATCH,
    overlap: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    batch: int = BATCH,
    phase: str = "constant",
    polarity: int = 1,
    solve: Solve | None = None,
    calibrate: bool = True,
) -> xarray.Dataset:
    """The dataset with reflectivity in the place of its amplitudes: what `run` writes, for data that are open already.

    Data and result are in memory, one after the other in the same place; for what is larger use
    `run` with the name of the store. Dead traces, those outside the mask and those with NaN or Inf keep their values.

    ds: has `variable` [..., time], of one line [trace, time] or a cube [inline, crossline, time], float, with a
    coordinate of the last dimension in ms; `mask` [...] bool may lack. wavelet, model, device, patch, overlap, halo,
    batch, phase, polarity, solve, calibrate: see `run`. Returns a copy. Raises InputError on other datasets,
    CheckpointError, BackendError.
    """
    amplitude, interval, live = _check(ds, variable, mask)
    samples = amplitude.shape[-1]
    nominal = parse_wavelet(wavelet, interval, samples, polarity=polarity)
    spec = SolverSpec(model, device, solve)
    solver = spec.load()
    lines: Sequence[Any] = range(amplitude.shape[0]) if amplitude.ndim == 3 else (Ellipsis,)
    found = np.array(amplitude.values, np.float32)
    alive = [_live(found[k], live[k]) for k in lines]
    chosen = [k for k, some in zip(lines, alive, strict=True) if some.any()]
    if not chosen:
        raise InputError(describe(f"variable {variable}", "only dead traces", "one live trace or more",
                                  "Check the dataset"))
    network = spec.calibration() if nominal is not None and calibrate else None
    lively = dict(zip(lines, alive, strict=True))
    if nominal is None:
        images, masks = _look_at(found, lively, chosen)
        taps = min(TAPS, samples - 1 + samples % 2)
        nominal = estimate_wavelet(images, interval, taps, phase, live=masks, polarity=polarity)
    elif network is not None:
        nominal = calibrate_with(network, nominal, *_look_at(found, lively, chosen), patch)
    for k, some in lively.items():
        if some.any():
            data = np.where(some, found[k].T, np.float32(0))
            result = reconstruct_section(data, nominal, solver, live=some, patch=patch, overlap=overlap, halo=halo,
                                         batch=batch)
            found[k][some] = result.x[:, some].T
    changed = amplitude.copy(data=found)
    changed.attrs = {**amplitude.attrs, "aafast": f"reflectivity, {nominal.source} wavelet, {result.backend}"}
    return ds.assign({variable: changed})


def _check(ds: xarray.Dataset, variable: str, mask: str) -> tuple[xarray.DataArray, float, np.ndarray]:
    """The amplitudes, their interval in ms and the mask of traces."""
    if variable not in ds:
        raise InputError(describe("dataset", f"variables {', '.join(map(str, ds.data_vars))}", f"one named {variable}",
                                  "Name it with variable="))
    amplitude = ds[variable]
    if amplitude.ndim not in (2, 3) or amplitude.shape[-1] < _SHORTEST or 0 in amplitude.shape:
        raise InputError(describe(f"variable {variable}", f"shape {amplitude.shape} of {amplitude.dims}",
                                  f"[trace, time] or [inline, crossline, time], {_SHORTEST} samples or more",
                                  "Transpose it, or select a line"))
    time = amplitude.dims[-1]
    steps = np.diff(np.asarray(ds[time].values, np.float64)) if time in ds.coords else np.zeros(1)
    if not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3)):
        raise InputError(describe(f"coordinate {time}", "no even steps", "times in ms, evenly spaced",
                                  "Assign the coordinate"))
    shape = amplitude.shape[:-1]
    live = np.asarray(ds[mask].values, bool) if mask in ds else np.ones(shape, bool)
    if live.shape != shape:
        raise InputError(describe(f"mask {mask}", f"shape {live.shape}", f"{shape}", "Name the right one with mask="))
    return amplitude, float(steps[0]), live


def _live(traces: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which traces [X, T] hold anything to solve."""
    return mask & np.isfinite(traces).all(1) & (traces != traces[:, :1]).any(1)


def _look_at(found: np.ndarray, alive: dict, chosen: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Some of the lines, each divided by its gain, and their masks of live traces."""
    places = np.linspace(0, len(chosen) - 1, min(_LOOKED_AT, len(chosen))).round().astype(int)
    images, masks = [], []
    for k in (chosen[place] for place in places):
        data = np.where(alive[k], found[k].T, np.float32(0))
        images.append(data / smooth_gain(data, alive[k]))
        masks.append(alive[k])
    return images, masks
