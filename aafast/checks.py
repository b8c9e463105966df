"""Checks of what a user hands in: each is made once, at the door, and says what to do."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import InputError, describe

MIN_SIDE = 8
COMPUTE_DTYPES = (torch.float32, torch.float64)
INPUT_DTYPES = (torch.float16, torch.bfloat16, *COMPUTE_DTYPES)


def check_tensor(name: str, value: object, ndim: int, dtypes: tuple[torch.dtype, ...] = INPUT_DTYPES) -> Tensor:
    """Return `value` if it is a tensor of `ndim` axes and one of `dtypes`, else raise InputError."""
    if not isinstance(value, Tensor):
        raise InputError(describe(name, type(value).__name__, "a torch.Tensor", "Convert it by torch.as_tensor"))
    if value.dtype not in dtypes:
        names = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise InputError(describe(f"dtype of {name}", value.dtype, names, f"Convert it, for example {name}.float()"))
    if value.ndim != ndim:
        raise InputError(describe(f"shape of {name}", list(value.shape), f"{ndim} axes", "Add or drop axes"))
    return value


def check_image(name: str, value: object, channels: int | None = None) -> Tensor:
    """Return `value` if it is a finite image batch [B >= 1, C, H >= 8, W >= 8], else raise InputError."""
    image = check_tensor(name, value, ndim=4)
    batch, got, height, width = image.shape
    if batch < 1 or height < MIN_SIDE or width < MIN_SIDE:
        raise InputError(
            describe(
                f"shape of {name}",
                list(image.shape),
                f"[B, C, H, W] with B >= 1, H >= {MIN_SIDE} and W >= {MIN_SIDE}",
                "Pad or stack the images",
            )
        )
    if channels is not None and got != channels:
        raise InputError(describe(f"channels of {name}", got, channels, "Pass the channels this model was built for"))
    if not torch.isfinite(image).all():
        bad = [i for i in range(batch) if not torch.isfinite(image[i]).all()]
        raise InputError(
            describe(
                f"values of {name}",
                f"NaN or Inf in sample(s) {bad[:8]}",
                "finite numbers",
                "Mask or drop these samples",
            )
        )
    return image


def check_same_device(reference: Tensor, **others: Tensor) -> None:
    """Raise InputError unless every named tensor is on the device of `reference`."""
    for name, other in others.items():
        if other.device != reference.device:
            raise InputError(
                describe(
                    f"device of {name}",
                    other.device,
                    f"{reference.device}, as the measurement y",
                    f"Move it by .to({str(reference.device)!r})",
                )
            )


def check_choice(name: str, value: str, choices: tuple[str, ...] | list[str]) -> str:
    """Return `value` if it is one of `choices`, else raise InputError that lists them."""
    if value not in choices:
        raise InputError(describe(name, repr(value), " | ".join(choices), "Use one of these names"))
    return value
