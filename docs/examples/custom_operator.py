"""A forward model of your own: motion blur of uncertain length, which the package knows nothing of.

Run: python docs/examples/custom_operator.py [--quick]     (core package; some minutes on two cores)
Cells start with `# %%`: editors that know them show this file as a notebook.
"""

# %% The operator: two methods are enough. One length for each sample of a batch, so it also has `select`.
import argparse

import torch
import torch.nn.functional as F

import aafast
from aafast.evaluation import psnr
from aafast.tasks import draw_pairs

options = argparse.ArgumentParser()
options.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
quick = options.parse_args().quick
steps, batch, shape = (2, 2, (24, 24)) if quick else (300, 8, (48, 48))


class MotionBlur:
    """(A x)[i, j] = sum_k w[k] x[i, j + k - K // 2]: a box of `length` pixels along the rows, zero outside.

    length: [B], in pixels, not whole; its ends are antialiased. Zero-padded, so the adjoint turns the box around.
    """

    linear = True

    def __init__(self, length: torch.Tensor, taps: int = 21) -> None:
        self.length, self.taps = length, taps
        far = (torch.arange(taps) - taps // 2).abs()
        box = ((length[:, None] + 1) / 2 - far).clamp(0, 1)
        self.kernel = box / box.sum(1, keepdim=True)

    def _convolve(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        weight = kernel.to(x)[:, None, None].expand(batch, channels, 1, -1).reshape(-1, 1, 1, self.taps)
        image = F.conv2d(x.reshape(1, -1, height, width), weight, padding=(0, self.taps // 2), groups=len(weight))
        return image.reshape(x.shape)

    def A(self, x: torch.Tensor) -> torch.Tensor:
        return self._convolve(x, self.kernel)

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._convolve(y, self.kernel.flip(1))

    def select(self, index: int) -> "MotionBlur":
        """The operator of one sample: on a CPU samples are solved one by one."""
        return MotionBlur(self.length[index : index + 1], self.taps)


# %% The dot test: <A x, y> = <x, A^T y>. Nothing works without it, and nothing else shows a wrong adjoint.
generator = torch.Generator().manual_seed(0)
A = MotionBlur(torch.tensor([3.0, 8.5]))
x, y = (torch.randn(2, 3, 20, 24, generator=generator, dtype=torch.float64) for _ in range(2))
left, right = (A.A(x) * y).sum(), (x * A.A_adjoint(y)).sum()
assert torch.allclose(left, right), (left, right)


# %% Pairs: clean images blurred by the true length; the solver is told one that is wrong by up to 40 %
def pairs(start: int, split: str = "train", count: int = batch):
    images = draw_pairs("deblur", count, shape, seed=1, start=start, split=split).x
    generator = torch.Generator().manual_seed(start if split == "train" else 10**6 + start)
    length = 3 + 8 * torch.rand(count, generator=generator)
    wrong = length * (1 + 0.8 * (torch.rand(count, generator=generator) - 0.5))
    measured = MotionBlur(length).A(images) + 0.01 * torch.randn(images.shape, generator=generator)
    return images, measured, MotionBlur(wrong)


# %% A model: that of deblurring has the right kind of mismatch network, three convolutions on A0 z
model = aafast.build("deblur", "adaptive-lu", channels=16, depth=4, norm="none", skip=True, residual_channels=8)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(steps):
    images, measured, told = pairs(step * batch)
    loss = (model(measured, told).x - images).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 100 == 0 or step == steps - 1:
        print(f"step {step:4}  loss {float(loss.detach()):.5f}")

# %% What it does to images that it never saw
images, measured, told = pairs(0, "test", 2 if quick else 16)
with torch.no_grad():
    solution = model(measured, told)
print(f"PSNR of the data {psnr(images, measured, peak=1.0).mean():.2f} dB, of the reconstruction "
      f"{psnr(images, solution.x, peak=1.0).mean():.2f} dB, backend {solution.backend}")  # fmt: skip

# %% One sample's answer does not depend on its neighbours: solve(batch)[i] == solve(batch[i])
with torch.no_grad():
    alone = model(measured[1:2], told.select(1))
assert torch.equal(alone.x, solution.x[1:2])
