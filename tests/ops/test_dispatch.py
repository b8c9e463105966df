"""Which backend runs, and what is said about the others."""

import pytest
import torch

from aafast.errors import BackendError
from aafast.ops import BACKENDS, _dispatch, _native, anderson_mix, backends, can_run, z_step

CPU = torch.device("cpu")
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


def call(backend: str = "auto") -> torch.Tensor:
    return z_step(torch.ones(3), torch.ones(3), 0.1, 0.0, 1e-8, backend=backend)


@pytest.fixture
def without_native(monkeypatch):
    monkeypatch.setattr(_native, "load", lambda: (None, "the native module is not built"))
    can_run.cache_clear()
    yield
    can_run.cache_clear()


def test_every_backend_of_every_operation_has_a_row():
    rows = {(row.op, row.backend): row for row in backends()}
    everywhere = {(op, backend) for op in ("anderson_mix", "z_step") for backend in BACKENDS}
    native = ("correlate_planes", "correlate_separable", "correlate_time", "correlate_time_kernel")
    some = {(op, backend) for op in native for backend in ("eager", "cpp", "cuda")}
    assert set(rows) == everywhere | some | {("conv_stack", "eager"), ("conv_stack", "cpp")}
    for row in rows.values():
        assert row.available == (row.reason == "")
    assert rows["z_step", "eager"].available and rows["z_step", "cpp"].available


def test_auto_prefers_the_native_module_and_does_without_it(without_native):
    assert _dispatch.select("z_step", "auto", CPU, torch.float32) == "eager"
    assert torch.isfinite(call()).all()


def test_auto_on_the_cpu():
    assert _dispatch.select("z_step", "auto", CPU, torch.float32) == "cpp"


def test_a_missing_native_module_is_named(without_native):
    with pytest.raises(BackendError, match="backend cpp of z_step: got the native module is not built"):
        call("cpp")


@pytest.mark.parametrize("backend", ["cuda", "triton"])
@needs_no_gpu
def test_a_forced_backend_that_cannot_run_raises_with_the_reason(backend):
    with pytest.raises(
        BackendError, match=f"backend {backend} of z_step: got .*(CUDA|triton|nvcc).*aafast.ops.backends"
    ):
        call(backend)
    with pytest.raises(BackendError, match=f"backend {backend} of anderson_mix"):
        anderson_mix(*torch.ones(2, 1, 2, 3), torch.ones(1, 2, 2), 0, 1, 1e-3, 1.0, True, backend=backend)


def test_an_unknown_backend_raises_with_the_names():
    with pytest.raises(BackendError, match="got 'fast'; expected auto, eager, cpp, cuda, triton"):
        call("fast")


@needs_no_gpu
def test_the_environment_forces_a_backend(monkeypatch):
    monkeypatch.setenv("AAFAST_BACKEND", "eager")
    assert _dispatch.select("z_step", "auto", CPU, torch.float32) == "eager"
    assert _dispatch.select("z_step", "cpp", CPU, torch.float32) == "cpp"
    monkeypatch.setenv("AAFAST_BACKEND", "cuda")
    with pytest.raises(BackendError, match="asked for by AAFAST_BACKEND"):
        call()
    monkeypatch.setenv("AAFAST_BACKEND", "best")
    with pytest.raises(BackendError, match="'best'"):
        call()


def test_the_environment_leaves_an_operation_without_that_backend_its_best(monkeypatch):
    monkeypatch.setenv("AAFAST_BACKEND", "triton")
    assert _dispatch.select("correlate_time", "auto", CPU, torch.float32) == "cpp"
    with pytest.raises(BackendError, match="backend triton of correlate_time: got the operation has no such"):
        _dispatch.select("correlate_time", "triton", CPU, torch.float32)
    monkeypatch.setenv("AAFAST_BACKEND", "best")
    with pytest.raises(BackendError, match="'best'"):
        _dispatch.select("correlate_time", "auto", CPU, torch.float32)


def test_a_dtype_has_a_reason():
    assert "float32 and float64, not float16" in can_run("cpp", CPU, torch.float16)
    assert "no backend of this name" in can_run("fast", CPU)


def test_a_refused_launch_becomes_a_backend_error(monkeypatch):
    class Refusing:
        @staticmethod
        def z_step_cuda_float32(*_):
            raise RuntimeError("launching z_step: out of memory")

    monkeypatch.setattr(_native, "load", lambda: (Refusing, ""))
    with pytest.raises(BackendError, match="launching z_step: out of memory"):
        _native.call("z_step_cuda", torch.float32)


@pytest.mark.parametrize(
    ("archs", "capability", "fits"),
    [
        ("80;90a", 75, False),
        ("80;90a", 80, True),
        ("80;90a", 86, True),
        ("80;90a", 90, True),
        ("80;90a", 100, True),
        ("90a", 90, True),
        ("90a", 100, False),
        ("90a", 80, False),
        ("86", 80, False),
    ],
)
def test_which_devices_the_machine_code_fits(archs, capability, fits):
    assert _dispatch._compiled_for(archs, capability) == fits
