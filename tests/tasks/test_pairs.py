"""Pairs of every task: determinism, splits, the forward models that made them, mismatch, streams, errors."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from aafast.data import BlurMismatch, HazeMismatch, Mismatch
from aafast.errors import InputError
from aafast.physics import ForwardModel, gaussian_kernel
from aafast.tasks import SHAPES, TASKS, PairStream, TaskBatch, draw_pairs

SMALL = {"deconv": (40, 12), "deblur": (24, 20), "defog": (20, 28)}
# Half a wavelet or a kernel: what lies outside leaks in that far.
LEAK = {"deconv": (25, 0), "deblur": (6, 6), "defog": (0, 0)}
LEVELS = ("none", "in", "out", "beyond")
tasks = pytest.mark.parametrize("task", TASKS)


def parameters(model: ForwardModel) -> list[torch.Tensor]:
    own = (model.beta, model.airlight) if hasattr(model, "beta") else ()
    return [model.features(), *own]


def tensors(batch: TaskBatch) -> list[torch.Tensor]:
    return [batch.x, batch.y, batch.snr, *parameters(batch.nominal), *parameters(batch.true)]


def inner(task: str, image: torch.Tensor) -> torch.Tensor:
    rows, columns = LEAK[task]
    return image[..., rows : image.shape[-2] - rows, columns : image.shape[-1] - columns]


@tasks
def test_a_pair_depends_on_seed_split_and_number_alone(task):
    whole = draw_pairs(task, 4, SMALL[task], seed=3, start=6)
    for i in range(4):
        alone = draw_pairs(task, 1, SMALL[task], seed=3, start=6 + i)
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(tensors(whole), tensors(alone), strict=True))
    for other in ({"seed": 4}, {"split": "valid"}, {"split": "test"}, {"start": 7}):
        changed = draw_pairs(task, 4, SMALL[task], **({"seed": 3, "start": 6} | other))
        assert not any(torch.equal(a, b) for a, b in zip(whole[:2], changed[:2], strict=True))


@tasks
def test_shapes_types_and_ranges(task):
    batch = draw_pairs(task, 2)
    channels = TASKS[task].IMAGE_CHANNELS
    assert batch.x.shape == batch.y.shape == (2, channels, *SHAPES[task])
    assert batch.snr.shape == (2,) and all(t.dtype == torch.float32 for t in tensors(batch))
    assert all(t.isfinite().all() and t.is_contiguous() for t in tensors(batch))
    assert len(batch.nominal.features()) == len(batch.true.features()) == 2
    if task != "deconv":
        assert batch.x.min() >= 0 and batch.x.max() <= 1


@tasks
@pytest.mark.parametrize("mismatch", LEVELS)
def test_the_true_model_leaves_noise_of_the_stated_level(task, mismatch):
    options = {"snr_db": (20.0, 20.0)} if task == "deconv" else {"noise": (0.01, 0.01)}
    batch = draw_pairs(task, 6, (80, 64), mismatch=mismatch, **options)
    noise = inner(task, batch.y - batch.true.A(batch.x))
    if task == "deconv":  # partly in the band of the wavelet
        energy = noise.square().mean((1, 2, 3))
        level = 10 * torch.log10(batch.y.square().mean((1, 2, 3)) / energy - 1)
        assert torch.allclose(level, batch.snr, atol=0.5) and torch.allclose(batch.snr, torch.tensor(20.0))
    else:
        assert torch.allclose(noise.std((1, 2, 3)), torch.tensor(0.01), rtol=0.03)
        assert noise.mean((1, 2, 3)).abs().max() < 0.01 * 5 / noise[0].numel() ** 0.5
        neighbours = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)) / noise.square().mean((1, 2, 3))
        assert neighbours.abs().max() < 0.05
        level = 20 * torch.log10(batch.true.A(batch.x).square().mean((1, 2, 3)).sqrt() / 0.01)
        assert torch.allclose(level, batch.snr, atol=1.0)


@pytest.mark.parametrize("task", ["deblur", "defog"])
def test_without_noise_the_true_model_is_exact_inside(task):
    batch = draw_pairs(task, 3, (40, 40), noise=(0.0, 0.0))
    rest = batch.y - batch.true.A(batch.x)
    assert inner(task, rest).abs().max() < 1e-6 and batch.snr.isinf().all()
    if task == "deblur":
        assert rest.abs().max() < 1e-6
        wide = draw_pairs(task, 3, (40, 40), noise=(0.0, 0.0), surround=True)
        rest = wide.y - wide.true.A(wide.x)
        assert torch.equal(wide.x, batch.x) and inner(task, rest).abs().max() < 1e-6
        assert rest.abs().max() > 1e-2  # zeros are not what a photograph continues with


@tasks
def test_without_mismatch_both_models_are_one_and_else_they_differ(task):
    for level in LEVELS:
        batch = draw_pairs(task, 3, SMALL[task], mismatch=level)
        same = [torch.allclose(a, b) for a, b in zip(parameters(batch.nominal), parameters(batch.true), strict=True)]
        assert all(same) if level == "none" else not all(same)


@pytest.mark.parametrize("task", ["deblur", "defog"])
def test_the_image_tasks_draw_the_same_images_at_every_level(task):
    first, *others = (draw_pairs(task, 2, SMALL[task], mismatch=level) for level in LEVELS)
    assert all(torch.equal(first.x, b.x) and torch.equal(first.y, b.y) for b in others)


def widths(blur: ForwardModel) -> torch.Tensor:
    """Standard deviations in pixels from the ratio of the middle tap to its neighbour."""
    middle = blur.kernel.double()[:, 0, 6]
    return (2 * (middle[:, 6] / middle[:, 7]).log()).rsqrt()


@pytest.mark.parametrize(("level", "low", "high"), [("in", 0.0, 0.2), ("out", 0.0, 0.4), ("beyond", 0.2, 0.4)])
def test_blurs_are_wrong_by_the_stated_amounts(level, low, high):
    batch = draw_pairs("deblur", 80, (8, 8), mismatch=level)
    true, error = widths(batch.true), widths(batch.nominal) / widths(batch.true) - 1
    assert 0.8 <= true.min() < 0.85 and 2.2 < true.max() <= 2.4 + 1e-4
    assert error.abs().min() > low - 1e-4 and high - 0.02 < error.abs().max() < high + 1e-4
    assert 0.3 < (error > 0).double().mean() < 0.7
    assert torch.allclose(batch.true.kernel[5, 0], gaussian_kernel(13, float(true[5]) ** 2), atol=1e-5)


HAZE = [("in", (0.0, 0.25), (0.0, 0.05)), ("out", (0.0, 0.6), (0.0, 0.12)), ("beyond", (0.25, 0.6), (0.05, 0.12))]


@pytest.mark.parametrize(("level", "density", "airlight"), HAZE)
def test_haze_is_wrong_by_the_stated_amounts(level, density, airlight):
    batch = draw_pairs("defog", 80, (8, 8), mismatch=level)
    true = batch.true.beta.flatten()
    errors = ((batch.nominal.beta / batch.true.beta - 1).flatten(), batch.nominal.airlight - batch.true.airlight)
    assert 0.8 <= true.min() and true.max() <= 2.5
    assert 0.7 <= batch.true.airlight.min() and batch.true.airlight.max() <= 0.98
    assert batch.true.airlight.flatten(1).std(1).min() > 0  # slightly coloured
    for error, (low, high) in zip(errors, (density, airlight), strict=True):
        assert error.abs().min() > low - 1e-5 and 0.9 * high < error.abs().max() < high + 1e-5
        assert 0.3 < (error > 0).double().mean() < 0.7


def test_beyond_has_every_error_of_a_wavelet_in_the_outer_part():
    inside, beyond = (draw_pairs("deconv", 40, (8, 8), mismatch=level) for level in ("in", "beyond"))
    near, far = ((b.nominal.wavelet * b.true.wavelet).sum(1) for b in (inside, beyond))
    assert near.min() > 0.5 and far.median() < near.median() - 0.1


def test_the_nominal_model_of_fog_may_be_the_identity():
    batch = draw_pairs("defog", 2, SMALL["defog"], nominal="identity")
    assert torch.equal(batch.nominal.A(batch.x), batch.x) and batch.true.beta.min() > 0.7


def test_the_haze_of_a_whole_scene_spans_the_stated_optical_depths():
    batch = draw_pairs("defog", 4, split="test")
    depth = batch.true.depth
    assert depth.amin((1, 2, 3)).max() < 0.2 and depth.min() >= 0.1 and depth.amax((1, 2, 3)).min() > 0.8
    optical = depth * batch.true.beta
    assert optical.max() <= 2.5 and optical.min() < 0.3


@tasks
def test_own_ranges_of_mismatch(task):
    own = {"deconv": Mismatch((0.3, 0.3)), "deblur": BlurMismatch((0.3, 0.3)), "defog": HazeMismatch((0.3, 0.3))}
    batch = draw_pairs(task, 4, SMALL[task], mismatch=own[task])
    if task == "deblur":
        assert torch.allclose((widths(batch.nominal) / widths(batch.true) - 1).abs(), torch.tensor(0.3).double())
    if task == "defog":
        assert torch.allclose((batch.nominal.beta / batch.true.beta - 1).abs(), torch.tensor(0.3))
        assert torch.equal(batch.nominal.airlight, batch.true.airlight)
    wrong = own["defog" if task == "deblur" else "deblur"]
    with pytest.raises(InputError, match="mismatch"):
        draw_pairs(task, 1, SMALL[task], mismatch=wrong)


@tasks
def test_streams_hold_the_pairs_in_order_and_can_be_continued(task):
    stream = PairStream(task, 2, shape=SMALL[task], seed=5)
    first = list(itertools.islice(stream, 3))
    whole = draw_pairs(task, 6, SMALL[task], seed=5)
    assert torch.equal(torch.cat([b.y for b in first]), whole.y)
    again = next(iter(PairStream(task, 2, first=2, shape=SMALL[task], seed=5)))
    assert all(torch.equal(a, b) for a, b in zip(tensors(again), tensors(first[2]), strict=True))


def test_a_loader_with_workers_gives_the_same_sequence():
    # A spawned worker that is stopped early finalises Python while its queue thread may be inside torch, and aborts;
    # a worker of the fork server leaves without finalising.
    stream = PairStream("defog", 2, shape=(8, 8))
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="forkserver")
    found = list(itertools.islice(loader, 3))
    wanted = list(itertools.islice(stream, 3))
    for a, b in zip(found, wanted, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(tensors(a), tensors(b), strict=True))


@tasks
def test_a_batch_moves_as_a_whole(task):
    batch = draw_pairs(task, 2, SMALL[task]).to(dtype=torch.float64)
    assert all(t.dtype == torch.float64 for t in tensors(batch))
    assert batch.true.A(batch.x).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"task": "denoise"}, "task"),
        ({"batch": 0}, "batch"),
        ({"shape": (8, 7)}, "shape"),
        ({"shape": (8,)}, "shape"),
        ({"seed": -1}, "seed"),
        ({"start": -1}, "start"),
        ({"split": "val"}, "split"),
        ({"mismatch": "huge"}, "mismatch"),
        ({"sigma": (2.0, 1.0)}, "sigma"),
        ({"sigma": (0.0, 1.0)}, "sigma"),
        ({"noise": (-0.1, 0.1)}, "noise"),
        ({"noise": (0.0, float("nan"))}, "noise"),
        ({"beta": (0.5, 1.0)}, "options of deblur"),
        ({"task": "defog", "beta": (0.0, 1.0)}, "beta"),
        ({"task": "defog", "nominal": "none"}, "nominal"),
        ({"task": "defog", "fog": "given"}, "fog"),
        ({"task": "deconv", "snr_db": (9.0, 3.0)}, "snr_db"),
        ({"source": "photographs"}, "test"),
        ({"task": "defog", "source": "photographs", "split": "valid"}, "test"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(InputError, match=word):
        draw_pairs(**({"task": "deblur", "batch": 1, "shape": (8, 8)} | arguments))


@pytest.mark.parametrize("sizes", [(-0.1, 0.2), (0.3, 0.2), (0.0, 1.5)])
def test_bad_ranges_of_mismatch(sizes):
    for make in (BlurMismatch, HazeMismatch, lambda sizes: HazeMismatch(airlight=sizes)):
        with pytest.raises(InputError, match="mismatch of"):
            make(sizes)
