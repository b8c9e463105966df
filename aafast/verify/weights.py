"""The reference's weights under the product's names: which tensor is which, and a model that takes them all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive import Model
from ..nets.spectral_norm import conv_operator_norm, start_vector
from ..reference import AdaptiveDEQ, AdaptiveLU, RobustLU
from ..reference.spectral_norm import SpectralConv2d

Reference = RobustLU | AdaptiveLU | AdaptiveDEQ
_POWER_STEPS = 30

# Where the parameters of the mismatch networks are called otherwise than in the reference.
_STACK = {"data_layer.0": "conv1", "data_layer.2": "conv2", "data_layer.3": "norm2", "data_layer.5": "conv3"}
LAYERS = {
    "deblur": _STACK,
    "deconv": {
        **_STACK,
        "feature_layer.0": "linear1", "feature_layer.1": "batch1",
        "feature_layer.3": "linear2", "feature_layer.4": "batch2",
    },
    "defog": {
        "trans_layer.0": "trans1", "trans_layer.1": "trans_norm1", "trans_layer.3": "trans2",
        "light_layer.0": "light1", "light_layer.1": "light_norm1", "light_layer.3": "light2",
        "light_layer.4": "light_norm2", "light_layer.6": "light3",
    },
}


def mismatch_tensors(task: str, mismatch: nn.Module) -> dict[str, Tensor]:
    """The tensors of a mismatch network of the reference as they are applied, under the product's names."""
    return {
        f"{mine}_{part}": getattr(mismatch.get_submodule(theirs), part)
        for theirs, mine in LAYERS[task].items()
        for part in ("weight", "bias")
        if getattr(mismatch.get_submodule(theirs), part) is not None
    }


def proximal(reference: Reference) -> nn.Sequential:
    """The layers of the reference's R_rho."""
    return reference.prox if isinstance(reference, RobustLU) else reference.prox.R


def take_applied(layers: nn.Sequential, given: nn.Sequential) -> None:
    """Copy the weights of a stack as they are applied: of a normalised layer, the weight it convolves with."""
    with torch.no_grad():
        for mine, theirs in zip(layers, given, strict=True):
            for name, value in mine.named_parameters():
                value.copy_(getattr(theirs, name))


def take_weights(model: Model, reference: Reference) -> None:
    """Give a product model the weights of a reference model of its task, method and sizes.

    Where both normalise, the product takes the weight before normalisation and finds its norm itself. The linear
    layers that only the reference normalises are taken divided by their norm, which the BatchNorm after each undoes.
    """
    with torch.no_grad():
        eta = reference.eta if isinstance(reference, RobustLU) else reference.prox.eta
        model.eta.copy_(eta)
        for mine, theirs in zip(model.prox.R, proximal(reference), strict=True):
            for name, value in mine.named_parameters():
                value.copy_(_before_norm(theirs, name))
        if isinstance(reference, RobustLU):
            return
        start = model.residual.start_values
        for place, own in LAYERS[model.config.task].items():
            layer = reference.mismatch.get_submodule(place)
            for name in ("weight", "bias"):
                if getattr(layer, name) is not None:
                    start[f"{own}_{name}"].copy_(_before_norm(layer, name))


def _before_norm(layer: Any, name: str) -> Tensor:
    if name != "weight" or not hasattr(layer, "weight_orig"):
        return getattr(layer, name)
    original: Tensor = layer.weight_orig
    if isinstance(layer, nn.Linear):
        return original / _settle_linear(layer)
    return original


def settle(reference: Reference) -> None:
    """Bring the vectors of the reference's live spectral norms to where long training would have them.

    The reference makes one power iteration per call from a random start, so that freshly built it divides by norms
    that are far too small at first.
    """
    networks = [proximal(reference)] + ([] if isinstance(reference, RobustLU) else [reference.mismatch])
    with torch.no_grad():
        for layer in (layer for network in networks for layer in network.modules()):
            if isinstance(layer, SpectralConv2d):
                weight = layer.weight_orig.detach()
                layer.weight_u.copy_(conv_operator_norm(weight, start_vector(len(weight)).to(weight))[1])
            elif isinstance(layer, nn.Linear) and hasattr(layer, "weight_orig"):
                _settle_linear(layer)


def _settle_linear(layer: Any) -> Tensor:
    """The largest singular value of a linear layer's weight, its vectors brought up to date."""
    weight, u, v = layer.weight_orig.detach(), layer.weight_u, layer.weight_v
    with torch.no_grad():
        for _ in range(_POWER_STEPS):
            v.copy_(nn.functional.normalize(weight.mT @ u, dim=0))
            u.copy_(nn.functional.normalize(weight @ v, dim=0))
        return u @ weight @ v
