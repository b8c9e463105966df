"""Skips where Triton is absent: its kernels are an extra."""

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def _needs_triton() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip('the triton package is not installed: pip install "aafast[triton]"')
