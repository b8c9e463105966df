"""Losses by name, one number per sample, and the scores of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..evaluation.metrics import psnr, snr
from ..evaluation.rows import PEAK

FLOOR = 1e-4  # 40 dB: nothing is gained by fitting a pair closer

if TYPE_CHECKING:
    from ..adaptive import Model
    from ..nets import CalibrationNetwork
    from ..physics import ForwardModel
    from ..physics.deformations import Deformation
    from ..tasks import TaskBatch


def relative_error(x: Tensor, truth: Tensor) -> Tensor:
    """||x - truth||^2 / ||truth||^2 per sample: [B, C, H, W] twice -> [B]."""
    return (x - truth).flatten(1).square().sum(1) / truth.flatten(1).square().sum(1).clamp_min(1e-12)


def squared_error(x: Tensor, truth: Tensor) -> Tensor:
    """mean (x - truth)^2 per sample: [B, C, H, W] twice -> [B]."""
    return (x - truth).flatten(1).square().mean(1)


def log_error(x: Tensor, truth: Tensor) -> Tensor:
    """ln(||x - truth||^2 / ||truth||^2 + FLOOR) per sample: [B, C, H, W] twice -> [B].

    What a mean of decibels rewards: halving the error counts as much on an easy pair as on a hard one.
    """
    return (relative_error(x, truth) + FLOOR).log()


LOSSES = {"relative": relative_error, "mse": squared_error, "log": log_error}
OF_TASK = {"deconv": "relative", "deblur": "mse", "defog": "mse"}
# The loss that trains a calibration network, and nothing else.
CALIBRATION = "calibration"


def operator_error(family: Deformation, A: ForwardModel, pairs: TaskBatch) -> Tensor:
    """||view A - view A_true||^2 / ||x - y||^2 per sample [B]: how wrong A is, beside what it is there to explain."""
    wrong = family.view(A, pairs.x, pairs.y) - family.view(pairs.true, pairs.x, pairs.y)
    return wrong.flatten(1).square().sum(1) / (pairs.x - pairs.y).flatten(1).square().sum(1).clamp_min(1e-12)


def calibration_error(network: CalibrationNetwork, pairs: TaskBatch) -> Tensor:
    """The operator error of a calibrated model, the mean over the network's rounds: [B], differentiable."""
    family = network.deformation
    models = [family.deform(pairs.nominal, numbers) for numbers in network.rounds(pairs.y, pairs.nominal)]
    return torch.stack([operator_error(family, model, pairs) for model in models]).mean(0)


@torch.no_grad()
def validate(model: Model, pairs: TaskBatch, loss: str) -> dict[str, float]:
    """Means over held-out pairs on the model's device: the loss, and scores of the answer and of the measurement.

    valid_loss; psnr_db and input_psnr_db; for deconv also ser_db and input_ser_db, the signal-to-error ratio in dB;
    iterations, of the solve. For the calibration's loss: that of the calibrated model and of the nominal one.
    """
    if loss == CALIBRATION:
        models = {"valid_loss": model.calibrate(pairs.y, pairs.nominal), "input_loss": pairs.nominal}
        family = model.calibration.deformation
        return {name: float(operator_error(family, A, pairs).mean()) for name, A in models.items()}
    solution = model(pairs.y, pairs.nominal)
    found = {"valid_loss": LOSSES[loss](solution.x, pairs.x).cpu().numpy()}
    peak = PEAK[model.config.task]
    found |= {"psnr_db": psnr(pairs.x, solution.x, peak), "input_psnr_db": psnr(pairs.x, pairs.y, peak)}
    if model.config.task == "deconv":
        found |= {"ser_db": snr(pairs.x, solution.x), "input_ser_db": snr(pairs.x, pairs.y)}
    found["iterations"] = solution.iterations.cpu().numpy()
    return {name: float(values.mean()) for name, values in found.items()}
