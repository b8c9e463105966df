"""What every operation asks of its tensors, and the layout its implementations meet."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import COMPUTE_DTYPES, check_tensor
from ..errors import InputError, describe


def check_compute_tensors(**tensors: object) -> None:
    """Raise InputError unless all are dense float32 or float64 tensors of one dtype and one device."""
    first, reference = "", None
    for name, given in tensors.items():
        value = check_tensor(name, given, dtypes=COMPUTE_DTYPES)
        if value.layout != torch.strided:
            raise InputError(
                describe(f"layout of {name}", value.layout, "torch.strided", f"Use {name}.to_dense()")
            )
        if reference is None:
            first, reference = name, value
        if value.dtype != reference.dtype:
            raise InputError(
                describe(
                    f"dtype of {name}",
                    value.dtype,
                    f"{reference.dtype}, as {first}",
                    f"Convert it by {name}.to({first}.dtype)",
                )
            )
        if value.device != reference.device:
            raise InputError(
                describe(
                    f"device of {name}",
                    value.device,
                    f"{reference.device}, as {first}",
                    f"Move it by {name}.to({first}.device)",
                )
            )


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...], meaning: str) -> None:
    """Raise InputError unless `tensor` has the expected shape; `meaning` names where that comes from."""
    if tuple(tensor.shape) != tuple(expected):
        raise InputError(
            describe(
                f"shape of {name}", list(tensor.shape), f"{list(expected)}, {meaning}", f"Reshape {name}"
            )
        )


def check_number(name: str, value: float, low: float, inclusive: bool = True) -> None:
    """Raise InputError unless `value` is a finite number >= low, or > low where not inclusive."""
    enough = value >= low if inclusive else value > low
    if not (enough and value < float("inf")):
        relation = ">=" if inclusive else ">"
        raise InputError(
            describe(name, value, f"a finite number {relation} {low}", "Choose one in that range")
        )


def arranged_as(tensor: Tensor, layout: Tensor) -> Tensor:
    """`tensor`, or where its elements do not lie in the order of `layout` (same shape), a copy that does."""
    return tensor if tensor.stride() == layout.stride() else torch.empty_like(layout).copy_(tensor)
