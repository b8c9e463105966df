"""Losses by name, one number per sample, and the scores of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..evaluation.metrics import psnr, snr

if TYPE_CHECKING:
    from ..adaptive import Model
    from ..tasks import TaskBatch


def relative_error(x: Tensor, truth: Tensor) -> Tensor:
    """||x - truth||^2 / ||truth||^2 per sample: [B, C, H, W] twice -> [B]."""
    return (x - truth).flatten(1).square().sum(1) / truth.flatten(1).square().sum(1).clamp_min(1e-12)


def squared_error(x: Tensor, truth: Tensor) -> Tensor:
    """mean (x - truth)^2 per sample: [B, C, H, W] twice -> [B]."""
    return (x - truth).flatten(1).square().mean(1)


LOSSES = {"relative": relative_error, "mse": squared_error}
OF_TASK = {"deconv": "relative", "deblur": "mse", "defog": "mse"}


@torch.no_grad()
def validate(model: Model, pairs: TaskBatch) -> dict[str, float]:
    """Means over held-out pairs on the model's device: scores in dB of the answer and of the measurement itself.

    psnr_db and input_psnr_db (peak max |x|); for deconv also ser_db and input_ser_db, the signal-to-error ratio;
    iterations, of the solve.
    """
    solution = model(pairs.y, pairs.nominal)
    found = {"psnr_db": psnr(pairs.x, solution.x), "input_psnr_db": psnr(pairs.x, pairs.y)}
    if model.config.task == "deconv":
        found |= {"ser_db": snr(pairs.x, solution.x), "input_ser_db": snr(pairs.x, pairs.y)}
    found["iterations"] = solution.iterations.cpu().numpy()
    return {name: float(values.mean()) for name, values in found.items()}
