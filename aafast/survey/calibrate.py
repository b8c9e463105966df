"""A survey's wavelet corrected once, for all of its patches, by the model's calibration network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError, describe
from ..nets import CalibrationNetwork
from ..physics import WaveletConvolution
from .plan import Patch
from .section import PATCH, Part, flatten, plan_section
from .solver import SolverSpec
from .wavelet import Wavelet, check_length, make_wavelet

MOST = 32  # patches looked at


def calibrate_wavelet(
    wavelet: Wavelet,
    sections: np.ndarray | list[np.ndarray],
    live: np.ndarray | list[np.ndarray] | None = None,
    model: str = "deconv",
    patch: tuple[int, int] = PATCH,
) -> Wavelet:
    """The wavelet as a model's calibration network corrects it: the median of what patches of the data suggest.

    W'(f) = W(f e^-a) (|W| / max |W|)^(e^c - 1) e^ib with the medians of a, b and c over up to 32 patches, spread
    evenly over the sections. Each patch by itself would get its own wavelet, which shows where patches meet.

    wavelet: nominal. sections: [T, X], or a list of them, best after division by a gain. live: [X] bool per section,
    by default the traces that are not all zero. model: name or folder. patch: samples, traces. Returns the wavelet
    itself where the model calibrates none or every trace is dead, one of unit norm and as many taps otherwise.
    Raises InputError where a section is shorter than the wavelet, CheckpointError.
    """
    network = SolverSpec(model).calibration()
    return wavelet if network is None else calibrate_with(network, wavelet, sections, live, patch)


def calibrate_with(
    network: CalibrationNetwork,
    wavelet: Wavelet,
    sections: np.ndarray | list[np.ndarray],
    live: np.ndarray | list[np.ndarray] | None = None,
    patch: tuple[int, int] = PATCH,
) -> Wavelet:
    """`calibrate_wavelet` by a network on the CPU, in double precision, so that threads do not show in the taps."""
    sections = [sections] if isinstance(sections, np.ndarray) else list(sections)
    masks: list[np.ndarray]
    masks = [live] if isinstance(live, np.ndarray) else [*live] if live else [(s != 0).any(axis=0) for s in sections]
    for section, mask in zip(sections, masks, strict=True):
        if section.ndim != 2 or mask.shape != section.shape[1:]:
            raise InputError(describe("section to calibrate on", f"shape {section.shape}, mask {mask.shape}",
                                      "[T, X] and one flag per trace", "Give one line after another"))
        check_length(wavelet.samples.size, section.shape[0], wavelet.source)
    places = _spread(masks, [section.shape for section in sections], patch)
    if not places:
        return wavelet
    network = copy.deepcopy(network).double()
    nominal = WaveletConvolution(torch.from_numpy(wavelet.samples.astype(np.float64)))
    found = []
    with torch.no_grad():
        for number, place in places:
            y = torch.from_numpy(_cut(sections[number], masks[number], place))
            found.append(network.rounds(y[None, None], nominal)[-1])
        middle = torch.cat(found).median(0, keepdim=True).values
        taps = network.deformation.deform(nominal, middle).tensors()["wavelet"][0]
    return make_wavelet(taps.numpy(), wavelet.dt, f"{wavelet.source}, calibrated", wavelet.notes)


def _spread(masks: Sequence[np.ndarray], shapes: Sequence[tuple], patch: tuple[int, int]) -> list[tuple[int, Patch]]:
    """Up to `MOST` patches, evenly out of all those of which half the traces are live or, without such, any trace."""
    every = []
    for number, (mask, shape) in enumerate(zip(masks, shapes, strict=True)):
        plan = plan_section(shape, patch)
        every += [(number, place, mask[place.trace].mean()) for place in (plan[k] for k in range(len(plan)))]
    for least in (0.5, 1e-9):
        good = [(number, place) for number, place, share in every if share >= least]
        if good:
            return [good[k] for k in np.linspace(0, len(good) - 1, min(MOST, len(good))).round().astype(int)]
    return []


def _cut(section: np.ndarray, live: np.ndarray, place: Patch) -> np.ndarray:
    """A patch [T', X'] float64, its dead traces filled from the live ones beside them."""
    first, stop = place.trace.start, min(place.trace.stop, section.shape[1])
    mask = live[first:stop]
    data = np.where(mask, section[:, first:stop], np.float32(0)).astype(np.float32, copy=False)
    part = Part(data, np.arange(first, stop), mask, first, stop)
    return np.ascontiguousarray(flatten(part, np.ones_like(data))[place.time], np.float64)
