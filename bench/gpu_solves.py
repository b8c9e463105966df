"""A few small solves on a CUDA device through every kernel of the engine: for a sanitizer to watch.

Run: python bench/gpu_solves.py
"""

from __future__ import annotations

import torch

from aafast import build
from aafast.config import FixedPointConfig
from aafast.physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution

SMALL = {"channels": 64, "residual_channels": 64, "depth": 3, "iterations": 2}
FEW = FixedPointConfig(max_iter=10, tol=0.0)


def problem(task: str, height: int = 21, width: int = 18) -> tuple[torch.Tensor, ForwardModel]:
    """Two samples of noise, and a nominal model."""
    torch.manual_seed(0)
    if task == "deconv":
        return torch.randn(2, 1, height, width, device="cuda"), WaveletConvolution(torch.randn(2, 51, device="cuda"))
    y = torch.rand(2, 3, height, width, device="cuda")
    return y, (GaussianBlur().to("cuda") if task == "deblur" else Haze(torch.rand(2, 1, height, width, device="cuda")))


def main() -> None:
    for task in ("deconv", "deblur", "defog"):
        for precision in ("fast", "tf32", "strict"):
            model = build(task, "adaptive-deq", normalise=False, fixed_point=FEW, **SMALL).cuda()
            model.backend, model.precision = "cuda", precision
            with torch.no_grad():
                solution = model(*problem(task))
            torch.cuda.synchronize()
            assert torch.isfinite(solution.x).all(), (task, precision)
            print(task, precision, solution.backend, solution.iterations.tolist())


if __name__ == "__main__":
    main()
