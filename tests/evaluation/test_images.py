"""Classical methods for images: against dense systems and loops, and on pairs made by their own model."""

import numpy as np
import pytest
import torch

from aafast.errors import InputError
from aafast.evaluation import dark_channel, invert_haze, psnr, tikhonov, wiener_image
from aafast.evaluation.classical import CLASSICAL, Truths, classical
from aafast.evaluation.images import guided_filter
from aafast.physics import GaussianBlur, Haze, gaussian_kernel
from aafast.tasks import draw_pairs

GENERATOR = torch.Generator().manual_seed(0)


def smooth(*shape):
    """Images in 0..1 that vary slowly."""
    x = torch.rand(shape, generator=GENERATOR, dtype=torch.float64)
    x = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (4,) * 4, mode="reflect"), 9, 1)
    return (x - x.amin((2, 3), keepdim=True)) / (x.amax((2, 3), keepdim=True) - x.amin((2, 3), keepdim=True))


def test_wiener_undoes_a_blur_that_is_not_symmetric():
    """A correlation turned the wrong way round would shift the image by two pixels."""
    kernel = torch.zeros(5, 5, dtype=torch.float64)
    kernel[1, 3], kernel[2, 2] = 0.3, 0.7
    x = smooth(1, 3, 60, 50)
    y = GaussianBlur(kernel).A(x)
    got = wiener_image(y, GaussianBlur(kernel), 1e-4, 0.0)
    inside = (..., slice(8, -8), slice(8, -8))
    assert psnr(x[inside], got[inside], 1.0)[0] > 45 > psnr(x[inside], y[inside], 1.0)[0] + 5


def test_wiener_is_the_dense_filter_far_from_the_edges():
    kernel = gaussian_kernel(7, 1.5, torch.float64)
    y = smooth(1, 1, 64, 64)
    y = y - y.mean()
    damping, margin, n = 0.05, 7, 64 + 14
    padded = np.zeros((n, n))
    padded[:7, :7] = kernel
    response = np.fft.fft2(np.roll(padded, (-3, -3), (0, 1)))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")) / np.sqrt(0.5)
    shape = np.conj(response) / (np.abs(response) ** 2 + damping * np.maximum(f, 1 / n) ** 2)
    wide = np.pad(y[0, 0].numpy(), margin, mode="edge")
    expected = np.fft.ifft2(shape * np.fft.fft2(wide)).real[margin:-margin, margin:-margin]
    got = wiener_image(y, GaussianBlur(kernel), damping, 2.0)[0, 0].numpy()
    assert np.abs(got - expected)[24:-24, 24:-24].max() < 0.02 * np.abs(expected).max()


def test_wiener_with_the_true_kernel_improves_the_data_and_a_wrong_one_less():
    batch = draw_pairs("deblur", 4, (48, 40), mismatch="out", split="valid", surround=True)
    data, wrong, right = (psnr(batch.x, x, 1.0).mean() for x in (
        batch.y, wiener_image(batch.y, batch.nominal, 0.02), wiener_image(batch.y, batch.true, 0.02)))  # fmt: skip
    assert right > data + 0.5 and right > wrong


def test_tikhonov_solves_its_dense_system():
    y = smooth(1, 1, 9, 8)
    A0 = GaussianBlur(gaussian_kernel(3, 0.8, torch.float64))
    size, damping = 72, 0.05
    basis = torch.eye(size, dtype=torch.float64).reshape(size, 1, 9, 8)
    a = A0.A(basis).reshape(size, size).T
    steps = [part.reshape(size, -1).T for part in (basis.diff(dim=2), basis.diff(dim=3))]
    penalty = sum(d.T @ d for d in steps)
    expected = torch.linalg.solve(a.T @ a + damping * penalty, a.T @ y.flatten())
    assert torch.allclose(tikhonov(y, A0, damping, 200).flatten(), expected, atol=1e-8)


def test_tikhonov_is_the_better_one_where_images_end_in_zeros():
    batch = draw_pairs("deblur", 4, (48, 40), mismatch="none", split="valid")
    taper, zero, exact = (psnr(batch.x, x, 1.0).mean() for x in (
        wiener_image(batch.y, batch.true, 0.03), wiener_image(batch.y, batch.true, 0.03, outside="zero"),
        tikhonov(batch.y, batch.true, 0.01)))  # fmt: skip
    assert exact > max(taper, zero) + 0.5


def test_the_samples_of_a_batch_are_independent():
    batch = draw_pairs("deblur", 3, (32, 40), split="valid")
    whole = wiener_image(batch.y, batch.nominal)
    alone = torch.cat([wiener_image(batch.y[i : i + 1], batch.nominal.select(i)) for i in range(3)])
    assert torch.allclose(whole, alone, atol=1e-5)
    fog = draw_pairs("defog", 3, (32, 40), split="valid").y
    assert torch.allclose(dark_channel(fog), torch.cat([dark_channel(fog[i : i + 1]) for i in range(3)]), atol=1e-6)


def test_the_dark_channel_finds_even_haze_over_a_scene_that_keeps_the_prior():
    """Where a dark pixel is in every window, the transmission is 1 - strength (1 - t) to the airlight's error."""
    x = smooth(1, 3, 60, 60)
    x[:, :, ::6, ::6] = 0.0
    x[:, :, :12, :12] = 0.95  # sky: the brightest part, of the colour of the airlight
    light = torch.tensor([0.95, 0.95, 0.95], dtype=torch.float64).view(1, 3, 1, 1)
    t = torch.full((1, 1, 60, 60), 0.5, dtype=torch.float64)
    t[:, :, :12, :12] = 0.05
    y = x * t + light * (1 - t)
    got = dark_channel(y, strength=1.0, patch=7, radius=8)
    below = (..., slice(30, None), slice(30, None))
    assert psnr(x[below], got[below], 1.0)[0] > psnr(x[below], y[below], 1.0)[0] + 10


def test_the_guided_filter_against_a_loop():
    guide, image = (torch.rand(1, 1, 9, 8, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
    radius, ridge = 2, 1e-2
    g, p = guide[0, 0].numpy(), image[0, 0].numpy()
    a, b = np.zeros_like(g), np.zeros_like(g)

    def window(part, i, j):
        return part[max(0, i - radius):i + radius + 1, max(0, j - radius):j + radius + 1]

    for i in range(9):
        for j in range(8):
            gi, pi = window(g, i, j), window(p, i, j)
            a[i, j] = (np.mean(gi * pi) - gi.mean() * pi.mean()) / (gi.var() + ridge)
            b[i, j] = pi.mean() - a[i, j] * gi.mean()
    expected = [[window(a, i, j).mean() * g[i, j] + window(b, i, j).mean() for j in range(8)] for i in range(9)]
    assert np.allclose(guided_filter(guide, image, radius, ridge)[0, 0].numpy(), expected, rtol=1e-9)


def test_known_haze_is_undone():
    depth = torch.rand(2, 1, 16, 20, generator=GENERATOR)
    haze = Haze(depth, torch.tensor([0.5, 1.5]), torch.tensor([[0.9, 0.8, 0.7], [0.7, 0.8, 0.9]]))
    x = torch.rand(2, 3, 16, 20, generator=GENERATOR)
    assert torch.allclose(invert_haze(haze.A(x), haze, floor=0.01), x, atol=1e-5)
    thick = Haze(depth, 10.0, 0.5)
    assert invert_haze(thick.A(x), thick, floor=0.5).abs().max() < 3  # the floor bounds what noise becomes


def test_parameters_are_chosen_by_the_psnr_on_the_examples():
    batch = draw_pairs("deblur", 2, (40, 32), split="valid")
    method = classical("wiener", "deblur")
    examples = Truths(batch.x, batch.y, batch.true)
    chosen = method.choose(examples, 1.0)
    scores = {tuple(p.values()): psnr(batch.x, method.apply(batch.y, batch.true, **p), 1.0).mean()
              for p in method.grid()}  # fmt: skip
    assert tuple(chosen.values()) == max(scores, key=scores.get) and len(scores) == 28
    assert classical("data", "deblur").choose(examples, 1.0) == {}


@pytest.mark.parametrize("task, shape", [("deconv", (56, 10)), ("deblur", (24, 20)), ("defog", (24, 20))])
def test_every_method_keeps_shape_and_type(task, shape):
    batch = draw_pairs(task, 2, shape, split="valid")
    for method in (m for (t, _), m in CLASSICAL.items() if t == task):
        parameters = next(method.grid()) if method.candidates else {}
        x = method.apply(batch.y, batch.nominal, **parameters)
        assert x.shape == batch.y.shape and x.dtype == batch.y.dtype and torch.isfinite(x).all(), method.name


@pytest.mark.parametrize("call", [
    lambda y: wiener_image(y, GaussianBlur(gaussian_kernel(5, 1.0)), damping=0.0),
    lambda y: wiener_image(y, GaussianBlur(gaussian_kernel(5, 1.0)), exponent=-1.0),
    lambda y: wiener_image(y, GaussianBlur(gaussian_kernel(5, 1.0)), outside="one"),
    lambda y: tikhonov(y, GaussianBlur(gaussian_kernel(5, 1.0)), damping=0.0),
    lambda y: tikhonov(y, Haze(torch.ones(1, 1, 12, 12))),
    lambda y: wiener_image(y[0], GaussianBlur(gaussian_kernel(5, 1.0))),
    lambda y: dark_channel(y, strength=1.5),
    lambda y: dark_channel(y, patch=4),
    lambda y: invert_haze(y, Haze(torch.ones(1, 1, 12, 12)), floor=0.0),
    lambda y: classical("fista", "defog"),
])  # fmt: skip
def test_bad_arguments_are_refused(call):
    with pytest.raises(InputError, match="expected"):
        call(torch.zeros(1, 3, 12, 12))
