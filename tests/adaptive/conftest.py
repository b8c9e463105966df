"""Small problems of the three tasks."""

import pytest
import torch

from aafast.physics import GaussianBlur, Haze, WaveletConvolution

TASKS = ("deconv", "deblur", "defog")


def make_problem(task, batch=3, height=21, width=14, dtype=torch.float32, seed=0):
    """Measurements and per-sample forward models of a task."""
    g = torch.Generator().manual_seed(seed)
    if task == "deconv":
        wavelets = torch.randn(batch, 51, generator=g, dtype=torch.float64)
        wavelets = wavelets / wavelets.norm(dim=1, keepdim=True)
        y = torch.randn(batch, 1, height, width, generator=g, dtype=torch.float64)
        return y.to(dtype), WaveletConvolution(wavelets.to(dtype))
    y = torch.rand(batch, 3, height, width, generator=g, dtype=torch.float64).to(dtype)
    if task == "deblur":
        kernels = torch.rand(batch, 3, 5, 5, generator=g, dtype=torch.float64)
        return y, GaussianBlur((kernels / kernels.sum((2, 3), keepdim=True)).to(dtype))
    return y, Haze(torch.rand(batch, 1, height, width, generator=g, dtype=torch.float64).to(dtype))


@pytest.fixture(params=TASKS)
def task(request):
    return request.param
