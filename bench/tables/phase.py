"""How well a wavelet's constant phase can be found blindly: the phase of the sparsest deconvolution, from N patches.

Run: python bench/tables/phase.py [--repeats N]
Everything but the phase is given: the amplitude spectrum is the true one and the noise is low. The phase is searched
in steps of 0.1 within +-1.2 rad of the true one, as in the mismatch "out"; a blind guess is off by 0.69 rad.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from aafast.data.mismatch import mismatch_level
from aafast.data.noise import convolve_time, rms
from aafast.data.pairs import draw_wavelets
from aafast.data.reflectivity import reflectivity_section
from aafast.evaluation.rows import facts, write
from aafast.physics import WaveletConvolution
from aafast.physics.deformations import WaveletDeformation

OUT = Path(__file__).resolve().parents[1] / "results" / "phase.jsonl"
PHASES = torch.linspace(-1.2, 1.2, 25)
PATCHES, SHAPE, TAPS, NOISE, DAMPING = (1, 4, 16, 64), (128, 24), 51, 0.05, 0.05
NORMS = {
    "kurtosis": lambda z: z.pow(4).mean(),
    "third moment": lambda z: z.abs().pow(3).mean(),
    "least l1": lambda z: -z.abs().mean(),
}


def patches(rng: np.random.Generator, wavelet: np.ndarray, count: int) -> torch.Tensor:
    """`count` sections of one wavelet, each with its own reflectivity, of unit RMS: [count, 1, T, X]."""
    halo, found = TAPS // 2, []
    for _ in range(count):
        section = reflectivity_section(rng, SHAPE[0] + 2 * halo, SHAPE[1])
        data = convolve_time(section, wavelet)[halo:-halo]
        found.append(data / rms(data) + NOISE * rng.standard_normal(data.shape))
    return torch.from_numpy(np.stack(found)).float()[:, None]


def errors(rng: np.random.Generator, count: int) -> list[float]:
    """The phase in radians that each norm prefers, relative to the true one."""
    true, _ = draw_wavelets(rng, mismatch_level("out"))
    wavelet = true.sample(TAPS)
    y, family, scores = patches(rng, wavelet, count), WaveletDeformation(1), []
    exact = WaveletConvolution(torch.from_numpy(wavelet).float())
    for phase in PHASES:
        A = family.deform(exact, torch.tensor([[0.0, float(phase), 0.0]]))
        z = A.solve_normal(A.A_adjoint(y), DAMPING)
        z = z / z.square().mean((1, 2, 3), keepdim=True).sqrt()
        scores.append([float(norm(z)) for norm in NORMS.values()])
    return [float(PHASES[i]) for i in np.argmax(scores, axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=32)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    for count in PATCHES:
        found = np.array([errors(rng, count) for _ in range(arguments.repeats)])
        for index, name in enumerate(NORMS):
            error = math.sqrt(float(np.mean(found[:, index] ** 2)))
            rows.append({"suite": "phase", "patches": count, "shape": list(SHAPE), "norm": name,
                         "repeats": arguments.repeats, "rms_error": error, **facts("cpu")})  # fmt: skip
            print(f"{count:3d} patches, {name}: RMS error {error:.2f} rad", flush=True)
    write(arguments.out, rows)


if __name__ == "__main__":
    main()
