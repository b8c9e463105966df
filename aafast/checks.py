"""Checks of what a user hands in: each is made once, at the door, and says what to do."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import BackendError, InputError, describe

MIN_SIDE = 8
COMPUTE_DTYPES = (torch.float32, torch.float64)
INPUT_DTYPES = (torch.float16, torch.bfloat16, *COMPUTE_DTYPES)


def check_tensor(
    name: str, value: object, ndim: int | None = None, dtypes: tuple[torch.dtype, ...] = INPUT_DTYPES
) -> Tensor:
    """Return `value` if it is a tensor of `ndim` axes (None: any) and one of `dtypes`, else raise InputError."""
    if not isinstance(value, Tensor):
        raise InputError(describe(name, type(value).__name__, "a torch.Tensor", "Convert it by torch.as_tensor"))
    if value.dtype not in dtypes:
        *others, last = (str(d).removeprefix("torch.") for d in dtypes)
        expected = f"{', '.join(others)} or {last}" if others else last
        raise InputError(describe(f"dtype of {name}", value.dtype, expected, f"Convert it, for example {name}.float()"))
    if ndim is not None and value.ndim != ndim:
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
    # A traced call cannot look at values: there they are the caller's to check.
    if not torch.compiler.is_compiling() and not torch.isfinite(image).all():
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


def check_device(device: str | torch.device) -> torch.device:
    """The device by that name if it can be used here, else BackendError with the reason."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise BackendError(describe("device", repr(device), "cpu, cuda or cuda:N", "Use one of these names")) from error
    if found.type == "cuda":
        if not torch.cuda.is_available():
            reason = "this torch has no CUDA" if torch.version.cuda is None else "no CUDA device or driver is usable"
            raise BackendError(describe("device", f"{found} but {reason}", "a device that works here", 'Use "cpu"'))
        if (found.index or 0) >= torch.cuda.device_count():
            raise BackendError(
                describe(
                    "device",
                    str(found),
                    f"one of {torch.cuda.device_count()} CUDA devices",
                    "Lower its number",
                )
            )
    elif found.type != "cpu":
        raise BackendError(describe("device", str(found), "cpu or cuda", "Use one of these"))
    return found


def check_choice(name: str, value: str, choices: tuple[str, ...] | list[str]) -> str:
    """Return `value` if it is one of `choices`, else raise InputError that lists them."""
    if value not in choices:
        raise InputError(describe(name, repr(value), " | ".join(choices), "Use one of these names"))
    return value
