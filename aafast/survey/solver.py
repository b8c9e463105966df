"""What solves the patches: a model by name or folder, or a caller's own function; loaded where it runs."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch

from ..nets import CalibrationNetwork
from ..physics import WaveletConvolution
from .section import Solve

IDENTITY = "identity"


@dataclass(frozen=True)
class SolverSpec:
    """Which solver, to be loaded in any process. model: name, folder, or "identity", which gives the data back and
    so times reading, cutting and writing alone. device: "cpu", "cuda", "cuda:N" or None. solve: called instead."""

    model: str = "deconv"
    device: str | None = None
    solve: Solve | None = None

    def load(self) -> Solve:
        """The solver: (y [B, 1, T, X], A0) -> Solution."""
        if self.solve is not None:
            return self.solve
        if self.model == IDENTITY:
            return identity
        from ..reconstruct import check_device, reconstruct
        from ..tasks import load

        where = None if self.device is None else check_device(self.device)
        model = load(self.model, task="deconv")
        # A wavelet of its own for every patch would show as stripes: a survey's is calibrated once (see `calibrate`).
        model.config = replace(model.config, calibration="none")
        return functools.partial(reconstruct, model=model, device=where)

    def calibration(self) -> CalibrationNetwork | None:
        """What corrects a wavelet for the model, on the CPU; None where it has no such network or is a function."""
        if self.solve is not None or self.model == IDENTITY:
            return None
        from ..tasks import load

        model = load(self.model, task="deconv")
        return None if model.config.calibration == "none" else model.calibration

    def facts(self) -> dict[str, str]:
        """What tells one solver from another: a digest of its files, its kind of device."""
        device = torch.device(self.device or "cpu").type
        if self.solve is not None:
            function = getattr(self.solve, "func", self.solve)
            name = getattr(function, "__qualname__", type(function).__qualname__)
            return {"model": f"function {getattr(function, '__module__', '')}.{name}", "device": device}
        if self.model == IDENTITY:
            return {"model": IDENTITY, "device": device}
        from ..tasks import shipped

        folder = Path(self.model)
        if not folder.is_dir():
            folder = shipped().get(self.model, folder)
        digest = hashlib.sha256()
        for name in ("card.json", "model.safetensors"):
            if (folder / name).is_file():
                digest.update((folder / name).read_bytes())
        return {"model": digest.hexdigest(), "device": device}


def load_solver(model: str = "deconv", device: str | None = None) -> Solve:
    """A model as `reconstruct_section` takes it: (y [B, 1, T, X], A0) -> Solution, with A0 as it is given.

    `aafast.load` gives the same model, which then calibrates A0 for every patch by itself; for a section do that once,
    by `calibrate_wavelet`. model: name or folder. device: "cpu" or "cuda". Raises CheckpointError, BackendError.
    """
    return SolverSpec(model, device).load()


def identity(y: torch.Tensor, A0: WaveletConvolution) -> SimpleNamespace:
    """The data as their own reconstruction, without an iteration."""
    batch = len(y)
    return SimpleNamespace(
        x=y,
        status=torch.ones(batch, dtype=torch.int8),
        iterations=torch.zeros(batch, dtype=torch.int64),
        residuals=torch.zeros(1, batch),
        wavelet=None,
        backend=IDENTITY,
    )
