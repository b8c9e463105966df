"""Variants of a model: what each changes, and what it leaves alone."""

import pytest
import torch

from aafast.config import InnerSolver
from aafast.errors import InputError
from aafast.evaluation.variants import VARIANTS, applies, variant


def solved(model, batch):
    with torch.no_grad():
        return model(batch.y, batch.nominal)


@pytest.fixture
def adaptive(build):
    return build("deconv", "adaptive-lu", theta_solver=InnerSolver("least-squares", damping=0.1))


def test_as_saved_is_the_model_itself(adaptive, pairs):
    batch = pairs("deconv")
    assert torch.equal(solved(variant(adaptive, "as-saved"), batch).x, solved(adaptive, batch).x)


def test_the_given_model_is_left_alone(adaptive, pairs):
    batch, config = pairs("deconv"), adaptive.config
    before = solved(adaptive, batch).x
    for name in VARIANTS:
        if applies(name, config):
            variant(adaptive, name)
    assert adaptive.config == config and torch.equal(solved(adaptive, batch).x, before)


def test_frozen_leaves_z_and_theta_where_they_start(adaptive, pairs):
    batch = pairs("deconv")
    found = solved(variant(adaptive, "frozen"), batch)
    assert torch.equal(found.z, batch.y) and torch.equal(found.wavelet, batch.nominal.wavelet)


def test_no_theta_moves_z_alone(adaptive, pairs):
    batch = pairs("deconv")
    found = solved(variant(adaptive, "no-theta"), batch)
    assert (found.z - batch.y).abs().max() > 0.1 and torch.equal(found.wavelet, batch.nominal.wavelet)
    assert not torch.equal(solved(adaptive, batch).wavelet, batch.nominal.wavelet)


def test_no_theta_is_the_nominal_model_where_the_rest_would_have_been_fitted(build, pairs):
    batch = pairs("deconv")
    fitted = build("deconv", "adaptive-lu", theta_solver=InnerSolver("least-squares"))
    found = variant(fitted, "no-theta")
    y_hat, nominal = found.residual(found.residual.start(len(batch.y)), batch.y, batch.nominal)
    assert torch.equal(y_hat, nominal) and fitted.residual.start_values["conv3_weight"].abs().max() > 0
    kept = variant(build("deconv", "adaptive-lu", theta_solver=InnerSolver("adamw")), "no-theta")
    y_hat, nominal = kept.residual(kept.residual.start(len(batch.y)), batch.y, batch.nominal)
    assert not torch.equal(y_hat, nominal)  # trained with this rest, and judged with it


def test_the_authors_step_moves_z_by_its_size(adaptive, pairs):
    batch = pairs("deconv")
    found = solved(variant(adaptive, "authors"), batch)
    moved = (found.z - batch.y).abs().max()
    assert 1e-5 < moved < 5 * 1e-4 * (1 + 0.01 * batch.y.abs().max()) * 1.1


@pytest.mark.parametrize("name, factor", [("theta-uniform", 10), ("theta-uniform-10", 1), ("theta-xavier", 10)])
def test_another_start_of_theta_is_drawn_at_its_scale(adaptive, name, factor):
    found = variant(adaptive, name, seed=3).residual.start_values
    weights = {k: v for k, v in found.items() if v.ndim > 1}
    assert weights and all(not torch.equal(v, adaptive.residual.start_values[k]) for k, v in weights.items())
    second = found["conv2_weight"]  # 4 x 4 x 3 x 3: Kaiming's bound is sqrt(6 / 36), Xavier's sqrt(6 / 72)
    bound = (6 / 36) ** 0.5 if "uniform" in name else (6 / 72) ** 0.5
    assert 0.8 * bound * factor / 10 < second.abs().max() <= bound * factor / 10
    assert torch.equal(found["dw"], torch.zeros_like(found["dw"]))
    again = variant(adaptive, name, seed=3).residual.start_values
    assert torch.equal(again["conv2_weight"], second)


def test_spectral_norms_follow_the_new_start(build, pairs):
    model = build("deconv", "adaptive-deq", normalise=True)
    batch = pairs("deconv")
    assert torch.equal(solved(variant(model, "as-saved"), batch).x, solved(model, batch).x)
    found = variant(model, "theta-uniform")
    assert not torch.equal(found.residual.sigma, model.residual.sigma)
    sizes = [m.residual.start(1)["conv2_weight"].abs().mean() for m in (found, model)]
    assert 0.5 < sizes[0] / sizes[1] < 2  # normalised: its scale no longer shows


def test_robust_lu_as_published_has_the_bracket_misplaced(build, pairs):
    model, batch = build("deblur", "robust-lu"), pairs("deblur")
    with torch.no_grad():
        x, A0 = batch.y, batch.nominal
        for _ in range(5):
            x = model.prox(x - torch.exp(model.eta) * A0.A(A0.A(x)) - A0.A(batch.y))
    found = variant(model, "as-published")
    assert torch.allclose(solved(found, batch).x, x, atol=1e-6)
    assert not torch.allclose(solved(model, batch).x, x, atol=1e-3)


@pytest.mark.parametrize("task, method, names", [
    ("deconv", "direct", {"as-saved"}),
    ("deblur", "robust-lu", {"as-saved", "as-published"}),
    ("defog", "adaptive-lu", {"as-saved", "frozen", "no-theta", "authors", "theta-uniform", "theta-xavier",
                              "theta-uniform-10", "theta-xavier-10"}),
])  # fmt: skip
def test_what_applies_to_which_model(build, task, method, names):
    assert {name for name in VARIANTS if applies(name, build(task, method).config)} == names


def test_calibration_can_be_taken_off(build, pairs):
    model, batch = build("deconv", "adaptive-lu", calibration="wavelet"), pairs("deconv")
    with torch.no_grad():
        model.calibration.numbers[-1].bias.fill_(0.3)
    calibrated, plain, only = (variant(model, name) for name in ("as-saved", "no-calibration", "calibration-only"))
    assert plain.config.calibration == "none" and only.config.theta_solver.name == "none"
    with torch.no_grad():
        assert not torch.equal(calibrated.calibrate(batch.y, batch.nominal).wavelet, batch.nominal.wavelet)
        assert plain.calibrate(batch.y, batch.nominal) is batch.nominal
    assert torch.equal(solved(variant(model, "no-theta"), batch).wavelet, batch.nominal.wavelet)


def test_what_does_not_apply_is_refused(build):
    with pytest.raises(InputError, match="as-published"):
        variant(build("deconv", "adaptive-lu"), "as-published")
    with pytest.raises(InputError, match="expected as-saved"):
        variant(build("deconv", "direct"), "typo")
