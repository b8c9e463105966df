"""Deblurring with a kernel of the wrong width: train two small models, and see what adaptation earns.

Run: python docs/examples/deblurring.py [--quick]          (core package; some minutes on two cores)
Cells start with `# %%`: editors that know them show this file as a notebook.
"""

# %% The task: images with edges and texture, Gaussian blur, noise; the solver is told a wrong width
import argparse

import torch

import aafast
from aafast.evaluation import psnr, wiener_image
from aafast.tasks import draw_pairs

options = argparse.ArgumentParser()
options.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
quick = options.parse_args().quick
steps, batch, shape = (3, 2, (24, 24)) if quick else (400, 8, (48, 48))


def pairs(start, mismatch="out", split="train", count=batch):
    """Truth x, blurred y, and the blur that is told; pair i is the same whenever it is drawn."""
    return draw_pairs("deblur", count, shape, seed=1, mismatch=mismatch, start=start, split=split)


# %% Two models of the same size: one trusts the kernel, one corrects it while it solves
models = {
    method: aafast.build("deblur", method, channels=16, depth=4, norm="none", skip=True, residual_channels=8)
    for method in ("robust-lu", "adaptive-lu")
}

# %% Training: plain torch. Gradients pass through all five iterations.
for method, model in models.items():
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        drawn = pairs(step * batch)
        loss = (model(drawn.y, drawn.nominal).x - drawn.x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"{method:12} step {step:4}  loss {float(loss.detach()):.5f}")

# %% Scores on images that training never saw, by how wrong the kernel is
print(f"{'PSNR, dB':14}" + "".join(f"{level:>8}" for level in ("none", "in", "out")))
held_out = {level: pairs(0, level, "test", 2 if quick else 16) for level in ("none", "in", "out")}
methods = {
    "data": lambda p: p.y,
    "Wiener": lambda p: wiener_image(p.y, p.nominal),
    **{name: (lambda p, model=model: model(p.y, p.nominal).x) for name, model in models.items()},
}
for name, method in methods.items():
    with torch.no_grad():
        scores = [float(psnr(p.x, method(p), peak=1.0).mean()) for p in held_out.values()]
    print(f"{name:14}" + "".join(f"{score:8.2f}" for score in scores))

# %% A model is kept as safetensors and a card, and comes back the same
if quick:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        aafast.save(models["adaptive-lu"], folder, note="docs/examples/deblurring.py")
        again = aafast.load(folder)
    drawn = held_out["in"]
    assert torch.equal(again(drawn.y, drawn.nominal).x, models["adaptive-lu"](drawn.y, drawn.nominal).x.detach())
