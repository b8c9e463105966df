"""A survey's wavelet corrected once, for all of its patches, by the model's calibration network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError, describe
from ..nets import CalibrationNetwork
from ..physics import WaveletConvolution
from .gain import smooth_gain
from .plan import Patch
from .section import PATCH, Part, check_section, flatten, plan_section
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
    evenly over the sections, each of which is divided by its smooth gain. Every patch by itself would get a wavelet of
    its own, which shows where patches meet.

    wavelet: nominal. sections: [T, X] float as for `reconstruct_section`, or a list of them. live: [X] bool, one per
    section, by default the traces that are not all zero. model: name or folder. patch: samples, traces. Returns the
    wavelet itself where the model calibrates none, one of unit norm and as many taps otherwise. Raises InputError for
    bad sections or one shorter than the wavelet, CheckpointError.
    """
    sections = [sections] if isinstance(sections, np.ndarray) else list(sections)
    masks = [live] if live is None or isinstance(live, np.ndarray) else list(live)
    masks = masks * len(sections) if live is None else masks
    if len(masks) != len(sections):
        raise InputError(describe("masks of live traces", len(masks), f"{len(sections)}, one for each section",
                                  "Leave them out, or give as many"))
    checked = [check_section(section, mask) for section, mask in zip(sections, masks, strict=True)]
    for section, _ in checked:
        check_length(wavelet.samples.size, section.shape[0], wavelet.source)
    network = SolverSpec(model).calibration()
    if network is None:
        return wavelet
    images = [section / smooth_gain(section, mask) for section, mask in checked]
    return calibrate_with(network, wavelet, images, [mask for _, mask in checked], patch)


def calibrate_with(
    network: CalibrationNetwork,
    wavelet: Wavelet,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    patch: tuple[int, int],
) -> Wavelet:
    """`calibrate_wavelet` by a network on the CPU, on images [T, X] that were divided by their gain, with live traces.

    In double precision, so that the number of threads does not show in the taps.
    """
    places = _spread(masks, [image.shape for image in images], patch)
    network = copy.deepcopy(network).double()
    nominal = WaveletConvolution(torch.from_numpy(wavelet.samples.astype(np.float64)))
    found = []
    with torch.no_grad():
        for number, place in places:
            y = torch.from_numpy(_cut(images[number], masks[number], place))
            found.append(network.rounds(y[None, None], nominal)[-1])
        middle = torch.cat(found).median(0, keepdim=True).values
        taps = network.deformation.deform(nominal, middle).tensors()["wavelet"][0]
    return make_wavelet(taps.numpy(), wavelet.dt, f"{wavelet.source}, calibrated", wavelet.notes)


def _spread(masks: Sequence[np.ndarray], shapes: Sequence[tuple], patch: tuple[int, int]) -> list[tuple[int, Patch]]:
    """Up to `MOST` patches, evenly out of those of which half the traces are live or, without such, any."""
    every = []
    for number, (mask, shape) in enumerate(zip(masks, shapes, strict=True)):
        plan = plan_section(shape, patch)
        every += [(number, place, mask[place.trace].mean()) for place in (plan[k] for k in range(len(plan)))]
    least = min(0.5, max(share for *_, share in every))
    good = [(number, place) for number, place, share in every if share >= least]
    return [good[k] for k in np.linspace(0, len(good) - 1, min(MOST, len(good))).round().astype(int)]


def _cut(image: np.ndarray, live: np.ndarray, place: Patch) -> np.ndarray:
    """A patch [T', X'] float64, its dead traces filled from the live ones beside them."""
    here = slice(place.trace.start, min(place.trace.stop, image.shape[1]))
    part = Part(image[:, here], np.arange(here.start, here.stop), live[here], here.start, here.stop)
    return np.ascontiguousarray(flatten(part, np.ones(1, np.float32))[place.time], np.float64)
