"""The classical methods as contestants: what each takes, its parameters, and their choice on other pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice
from ..physics import ForwardModel
from .baselines import fista, wiener
from .images import dark_channel, invert_haze, tikhonov, wiener_image
from .metrics import psnr

Apply = Callable[..., Tensor]


class Truths(NamedTuple):
    """Pairs to choose parameters on: x [B, C, H, W], y the same, A0 the forward model that is told."""

    x: Tensor
    y: Tensor
    A0: ForwardModel


@dataclass(frozen=True)
class Classical:
    """A method without training.

    apply: (y, A0, **parameters) -> x. candidates: values of each parameter. takes_operator: whether A0 matters to it.
    """

    name: str
    task: str
    apply: Apply
    candidates: dict[str, Sequence[Any]] = field(default_factory=dict)
    takes_operator: bool = True

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of the candidates."""
        for values in itertools.product(*self.candidates.values()):
            yield dict(zip(self.candidates, values, strict=True))

    def choose(self, examples: Truths, peak: float | None) -> dict[str, Any]:
        """The combination with the largest mean PSNR on the examples, none of which may be reported on."""
        if not self.candidates:
            return {}

        def score(parameters: dict[str, Any]) -> float:
            return float(np.mean(psnr(examples.x, self.apply(examples.y, examples.A0, **parameters), peak)))

        return max(self.grid(), key=score)


def _traces(method: Callable[..., np.ndarray]) -> Apply:
    """A method for one section and one wavelet, for a batch of sections."""

    def apply(y: Tensor, A0: Any, **parameters: float) -> Tensor:
        wavelets = A0.wavelet.expand(len(y), -1).detach().cpu().numpy()
        found = [method(d, w, **parameters) for d, w in zip(y[:, 0].cpu().numpy(), wavelets, strict=True)]
        return torch.from_numpy(np.stack(found))[:, None].to(y)

    return apply


def _data(y: Tensor, A0: ForwardModel) -> Tensor:
    return y


def _haze_blind(y: Tensor, A0: ForwardModel, strength: float = 0.95, floor: float = 0.1) -> Tensor:
    return dark_channel(y, strength, floor=floor)


CLASSICAL = {
    (method.task, method.name): method
    for method in (
        *(Classical("data", task, _data, takes_operator=False) for task in ("deconv", "deblur", "defog")),
        Classical("fista", "deconv", _traces(fista), {"sparsity": (0.03, 0.1, 0.2, 0.35, 0.6, 1.0, 2.0)}),
        Classical("wiener", "deconv", _traces(wiener), {"damping": (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)}),
        Classical(
            "wiener", "deblur", wiener_image,
            {"damping": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0), "exponent": (0.0, 2.0), "outside": ("taper", "zero")},
        ),
        Classical("tikhonov", "deblur", tikhonov, {"damping": (1e-3, 3e-3, 0.006, 0.01, 0.02, 0.04, 0.08, 0.2)}),
        Classical(
            "dark-channel", "defog", _haze_blind,
            {"strength": (0.1, 0.3, 0.5, 0.7, 0.85, 0.95), "floor": (0.1, 0.3)}, takes_operator=False,
        ),
        Classical("inversion", "defog", invert_haze, {"floor": (0.02, 0.05, 0.1, 0.2, 0.4)}),
    )
}  # fmt: skip


def classical(name: str, task: str) -> Classical:
    """The classical method of that name for a task, else InputError that lists them."""
    names = tuple(n for t, n in CLASSICAL if t == task)
    return CLASSICAL[task, check_choice(f"classical method for {task}", name, names)]
