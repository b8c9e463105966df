"""Mixed precision: the proximal network in bfloat16, all else as it was."""

from __future__ import annotations

import torch
from torch import Tensor

from ..adaptive import Model
from ..errors import BackendError, describe


def use_bfloat16(model: Model, device: torch.device) -> None:
    """Let the proximal network convolve under bfloat16 autocast; its answer is float32, as are weights and solves.

    bfloat16 has float32's range, so that no scaling of the loss is needed. Raises BackendError where the device has
    no bfloat16 to gain from.
    """
    if device.type != "cuda":
        raise BackendError(
            describe("mixed precision (amp)", device.type, "a CUDA device", "Train without amp, or on a GPU")
        )
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise BackendError(
            describe(
                "mixed precision (amp)",
                f"{torch.cuda.get_device_name(device)}, which has no bfloat16",
                "a GPU that has it",
                "Train without amp",
            )
        )
    autocast_network(model, device.type)


def autocast_network(model: Model, device_type: str) -> None:
    """Run the proximal network's plain convolutions under bfloat16 autocast of that type of device."""
    plain = model.prox.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            return plain(x).to(x.dtype)

    setattr(model.prox, "forward", forward)  # noqa: B010 - of this object alone
