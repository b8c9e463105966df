"""Run by a fresh interpreter under TRITON_INTERPRET=1: whole solves by the Triton engine, on the CPU, against torch."""

import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from aafast.config import FixedPointConfig, InnerSolver  # noqa: E402
from tests.engine.problems import as_float, distance, double, make_problem, model_of  # noqa: E402

SMOOTH = {
    # Soft signs of large eps are gradient steps: they do not amplify rounding.
    "z_solver": InnerSolver("adamw", lr=0.5, eps=2.0),
    "theta_solver": InnerSolver("adamw", lr=1e-3, eps=1e-2),
    "channels": 16, "residual_channels": 16, "depth": 3, "iterations": 2, "normalise": False, "lam": 0.3,
    "fixed_point": FixedPointConfig(max_iter=3, tol=0.0),
}
CASES = (
    ("deconv", "adaptive-deq", "strict", 2e-5),
    ("deblur", "adaptive-lu", "fast", 8e-3),
    ("defog", "adaptive-lu", "strict", 2e-5),
)


def main() -> None:
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # of lanes that a mask hides
    for task, method, precision, tolerance in CASES:
        model, problem = model_of(task, method, torch.float32, **SMOOTH), make_problem(task, torch.float32, 2, 10, 9)
        with torch.no_grad():
            want = double(model)(*as_float(problem, torch.float64))
            model.backend, model.precision = "triton", precision
            got = model(*problem)
        assert got.backend == "triton", got.backend
        error = distance(got.x, want.x)
        print(task, method, precision, f"{error:.1e}")
        assert error <= tolerance
        assert torch.equal(got.status, want.status) and torch.equal(got.iterations, want.iterations)
    print("all ok")


if __name__ == "__main__":
    main()
