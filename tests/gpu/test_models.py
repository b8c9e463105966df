"""The models on a device: what the CPU gives, one sample as in its batch."""

import pytest
import torch

from aafast.config import METHODS
from aafast.physics import GaussianBlur, Haze, WaveletConvolution
from aafast.tasks import build
from aafast.training import TrainingPlan, read_curve, train

SMALL = {"channels": 8, "residual_channels": 8, "depth": 3}


def problem(task):
    g = torch.Generator().manual_seed(0)
    if task == "deconv":
        wavelets = torch.randn(3, 51, generator=g, dtype=torch.float64)
        A0 = WaveletConvolution(wavelets / wavelets.norm(dim=1, keepdim=True))
        return torch.randn(3, 1, 40, 18, generator=g, dtype=torch.float64), A0
    y = torch.rand(3, 3, 21, 14, generator=g, dtype=torch.float64)
    if task == "deblur":
        return y, GaussianBlur().to(dtype=torch.float64)
    return y, Haze(torch.rand(3, 1, 21, 14, generator=g, dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["deconv", "deblur", "defog"])
def test_the_device_gives_what_the_cpu_gives(task, method):
    y, A0 = problem(task)
    model = build(task, method, **SMALL).double()
    with torch.no_grad():
        expected = model(y, A0)
        found = model.cuda()(y.cuda(), A0.to("cuda"))
    torch.testing.assert_close(found.x.cpu(), expected.x, rtol=1e-6, atol=1e-8)
    assert found.iterations.cpu().tolist() == expected.iterations.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_does_not_depend_on_its_batch(method):
    y, A0 = problem("deconv")
    model = build("deconv", method, **SMALL).double().cuda()
    with torch.no_grad():
        together = model(y.cuda(), A0.to("cuda")).x
        alone = model(y[1:2].cuda(), A0.select(1).to("cuda")).x
    torch.testing.assert_close(together[1:2], alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("amp", [False, True])
def test_training_and_its_validation_run_on_the_device(tmp_path, amp):
    settings = {"channels": 8, "depth": 3, "residual_channels": 8, "iterations": 2}
    sizes = {"steps": 2, "batch": 2, "shape": (32, 16), "validate_every": 1, "validation_pairs": 2}
    plan = TrainingPlan("deconv", "adaptive-lu", settings=settings, amp=amp, **sizes)
    train(plan, out=tmp_path, device="cuda", log=lambda line: None)
    assert [row["step"] for row in read_curve(tmp_path)] == [0, 1, 2]
    assert all("psnr_db" in row for row in read_curve(tmp_path))
