"""The calibration network: the nominal model until it is trained, one answer per sample, and its place in a model."""

import pytest
import torch

import aafast
from aafast.errors import InputError
from aafast.physics import GaussianBlur
from aafast.tasks import draw_pairs

SMALL = {"channels": 8, "depth": 3, "norm": "none", "skip": True, "iterations": 2, "residual": "none"}
KINDS = {"deconv": "wavelet", "deblur": "width", "defog": "haze"}


def model(task, trained=True, **settings):
    found = aafast.build(task, "adaptive-lu", calibration=KINDS[task], **SMALL, **settings).eval()
    if trained:  # an untrained one has nothing to say
        with torch.no_grad():
            torch.nn.init.normal_(
                found.calibration.numbers[-1].weight, std=0.1, generator=torch.Generator().manual_seed(0)
            )
    return found


@pytest.mark.parametrize("task", KINDS)
def test_untrained_it_leaves_the_model_as_it_is(task):
    pairs = draw_pairs(task, 2, shape=(24, 20), mismatch="out")
    plain = aafast.build(task, "adaptive-lu", **SMALL).eval()
    fresh = model(task, trained=False)
    fresh.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(fresh(pairs.y, pairs.nominal).x, plain(pairs.y, pairs.nominal).x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", KINDS)
def test_a_sample_does_not_depend_on_its_batch(task):
    pairs = draw_pairs(task, 3, shape=(24, 20), mismatch="out")
    net = model(task)
    together = net(pairs.y, pairs.nominal)
    for i in range(3):
        alone = net(pairs.y[i : i + 1], pairs.nominal.select(i))
        assert torch.equal(alone.x, together.x[i : i + 1])
    assert (together.operator.A(pairs.x) - pairs.nominal.A(pairs.x)).abs().max() > 1e-3
    with torch.no_grad():
        net.config = aafast.tasks.settings(task, "adaptive-lu", **SMALL)
        off = net(pairs.y, pairs.nominal)
    assert off.operator.A(pairs.x).equal(pairs.nominal.A(pairs.x)) and not torch.equal(off.x, together.x)


@pytest.mark.parametrize("task", KINDS)
def test_the_answer_is_that_of_the_operator_it_names(task):
    """A calibrated solve is the solve of the same network told the calibrated model."""
    pairs = draw_pairs(task, 2, shape=(24, 20), mismatch="out")
    net = model(task)
    found = net(pairs.y, pairs.nominal)
    net.config = aafast.tasks.settings(task, "adaptive-lu", **SMALL)
    torch.testing.assert_close(net(pairs.y, found.operator).x, found.x, rtol=0, atol=1e-5)


def test_it_is_saved_with_the_model(tmp_path):
    pairs = draw_pairs("deblur", 1, shape=(24, 20), mismatch="out")
    net = model("deblur")
    again = aafast.load(aafast.tasks.save(net, tmp_path / "m"))
    assert torch.equal(again(pairs.y, pairs.nominal).x, net(pairs.y, pairs.nominal).x)


def test_a_model_of_another_kind_is_used_as_it_is():
    net = model("deblur")
    box = GaussianBlur(torch.full((5, 5), 0.04))
    y = torch.rand(1, 3, 16, 16)
    assert net(y, box).operator is not None
    assert torch.equal(net(y, box).operator.kernel, box.kernel)


def test_any_size_from_eight_up():
    for size in ((8, 8), (9, 31), (70, 11)):
        pairs = draw_pairs("defog", 1, shape=size, mismatch="in")
        assert model("defog")(pairs.y, pairs.nominal).x.shape == pairs.y.shape


def test_training_mode_gives_the_same_operator():
    pairs = draw_pairs("deconv", 2, shape=(32, 20), mismatch="out")
    net = model("deconv")
    with torch.no_grad():
        quiet = net(pairs.y, pairs.nominal).operator.wavelet
    with torch.enable_grad():
        loud = net(pairs.y, pairs.nominal)
    assert loud.x.requires_grad and not loud.operator.wavelet.requires_grad
    torch.testing.assert_close(loud.operator.wavelet, quiet, rtol=0, atol=1e-5)


def test_an_unknown_calibration_is_refused():
    with pytest.raises(InputError, match="calibration"):
        aafast.build("deblur", "adaptive-lu", calibration="motion")
