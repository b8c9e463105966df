"""What solves a survey's patches."""

import torch

import aafast
from aafast.survey.solver import SolverSpec
from aafast.tasks import draw_pairs, save

SMALL = {"channels": 8, "depth": 3, "norm": "none", "skip": True, "iterations": 2, "residual_channels": 8}


def test_a_survey_has_one_wavelet_whatever_its_model_would_correct(tmp_path):
    model = aafast.build("deconv", "adaptive-lu", calibration="wavelet", **SMALL)
    with torch.no_grad():
        model.calibration.numbers[-1].bias += 0.3
    pairs = draw_pairs("deconv", 2, (32, 16))
    solve = SolverSpec(str(save(model, tmp_path / "model", command="", data="", scores={}))).load()
    assert torch.equal(solve(pairs.y, pairs.nominal).operator.wavelet, pairs.nominal.wavelet)
    assert not torch.equal(model.eval()(pairs.y, pairs.nominal).operator.wavelet, pairs.nominal.wavelet)
