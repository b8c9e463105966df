"""The number of threads does not show in a shipped model's answer, to the last bit on one machine."""

import pytest
import torch

import aafast
from aafast.tasks import draw_pairs, shipped

SHAPES = {"deconv": (256, 40), "deblur": (64, 56), "defog": (64, 72)}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_threads_do_not_show(name):
    task = name.split("-")[0]
    pairs = draw_pairs(task, 1, SHAPES[task], seed=3, mismatch="out", split="test")
    model, before = aafast.load(name), torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            answers.append(aafast.reconstruct(pairs.y, pairs.nominal, model=model).x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])
