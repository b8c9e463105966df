"""Fixtures that run the CUDA sources on the CPU."""

import shutil
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from native_builds import emulated_module

from aafast.ops import _dispatch, _native, can_run


class OnDevice:
    """The emulated module with one of its devices in the place of the CPU, whose index torch gives as -1."""

    def __init__(self, module: ModuleType, device: int) -> None:
        self.module, self.device = module, device

    def __getattr__(self, name: str) -> Callable:
        function = getattr(self.module, name)
        return lambda *args: function(*map(self._placed, args))

    def _placed(self, arg: object) -> object:
        if isinstance(arg, tuple) and arg and arg[0] is CPU_INDEX:  # (device, stream)
            return (self.device, *arg[1:])
        return self.device if arg is CPU_INDEX else arg


CPU_INDEX = torch.empty(0).get_device()


@pytest.fixture(scope="session")
def emulated() -> ModuleType:
    """The native module whose CUDA half runs on the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the CUDA sources cannot be built for the CPU")
    return emulated_module()


@pytest.fixture
def use_device(monkeypatch) -> Iterator[Callable[[ModuleType, int, int], None]]:
    """Make backend="cuda" of the operations run an emulated module, on one of its devices, by one seed."""

    def use(module: ModuleType, device: int, seed: int = 0) -> None:
        monkeypatch.setattr(_native, "load", lambda: (OnDevice(module, device), ""))
        monkeypatch.setitem(_dispatch._REASONS, "cuda", lambda _: None)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=0))
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        can_run.cache_clear()

    yield use
    can_run.cache_clear()
