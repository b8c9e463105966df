"""Other libraries as benchmarks and tests need them."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

import torch

# Of torchvision, which declares how they work on shapes even where its compiled part was not loaded.
_SHARED = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARED = ("nms", "qnms")
_kept: list[torch.library.Library] = []


def deepinv() -> ModuleType:
    """deepinv, also beside a torchvision that was compiled for another build of torch.

    A torchvision for CUDA beside a torch without cannot load its operators, and then fails to import for want of the
    names of some, none of which deepinv calls. They are given names here, without implementations.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("deepinv")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _DECLARED:
            library.define(name + _SHARED)
        _kept.append(library)  # what it defines goes with it
        return importlib.import_module("deepinv")
