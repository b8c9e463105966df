"""However a survey is cut, every trace comes out the same to the last bit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aafast.survey import ricker
from aafast.survey.blocks import cut_sections, find_halo
from aafast.survey.gain import Gain, find_level, measure_cells, measure_nodes, smooth_gain
from aafast.survey.section import Part, plan_section, reconstruct_part, reconstruct_section

from .conftest import correcting, synthetic, wiener
from .test_section import solution

WAVELET = ricker(25, 4.0)


def reaching(y, A0):
    """Nonlinear, with a reach of 2 traces, one patch at a time: its answer is the same in any batch."""
    kernel = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 1, 17, 5)).astype(np.float32))
    return solution(torch.cat([torch.tanh(F.conv2d(part[None], kernel, padding=(8, 2)) / 9) for part in y]))


@pytest.mark.parametrize("size, patch, overlap, halo, most", [
    (400, 64, 16, 4, 3), (401, 64, 0, 0, 2), (65, 64, 16, 4, 1), (5, 64, 16, 4, 20), (300, 17, 16, 0, 7),
])  # fmt: skip
def test_blocks_cover_every_trace_and_count_every_column_once(size, patch, overlap, halo, most):
    plan = plan_section((64, size), (32, patch), (8, overlap), (0, halo))
    blocks = cut_sections([size, size], [plan.trace, plan.trace], most)
    for section in (0, 1):
        own = [b for b in blocks if b.section == section]
        assert [b.first for b in own] == [0, *(b.stop for b in own[:-1])] and own[-1].stop == size
        assert all(b.first < b.stop and b.end - b.begin <= most for b in own)
        assert sum(b.end - b.begin for b in own) <= len(plan.trace.starts)
    assert [b.number for b in blocks] == list(range(len(blocks)))
    for block in blocks:
        halo = find_halo(block, plan.trace)
        assert halo.first <= block.first and halo.stop >= block.stop
        total = np.zeros(plan.shape[1])
        for column in halo.columns:
            total[plan.trace.starts[column]:][: plan.trace.patch] += plan.trace.weights[column]
        assert (total[block.first:block.stop] == 1).all()


def cut_anywhere(data, live, cuts):
    """Nodes of a section that comes in pieces."""
    pieces = [(measure_cells(data[:, a:b], live[a:b]), live[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    nodes, known = (np.concatenate(column) for column in zip(*measure_nodes(pieces), strict=True))
    return Gain(nodes, known, find_level(nodes, known), data.shape[0])


def test_the_gain_is_the_same_however_the_section_comes_and_is_asked_for():
    data = synthetic(333, 900) * np.linspace(1, 9, 900, dtype=np.float32)
    live = np.random.default_rng(0).random(900) > 0.1
    live[200:420] = False
    whole = smooth_gain(data, live)
    for cuts in ([0, 900], [0, 1, 2, 300, 301, 900], [*range(0, 900, 37), 900]):
        gain = cut_anywhere(data, live, cuts)
        parts = [gain.part(a, b) for a, b in ((0, 7), (7, 8), (8, 411), (411, 900))]
        assert np.array_equal(np.concatenate(parts, 1), whole)


@pytest.mark.parametrize("solve", [reaching, correcting, wiener], ids=lambda f: f.__name__)
@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_block_is_its_part_of_the_section_to_the_last_bit(solve, most):
    data = synthetic(130, 300)
    live = np.ones(300, bool)
    live[[0, 33, 34, 35, 36, 96, 97, 150, 299]] = False
    live[200:260] = False
    sizes = {"patch": (64, 32), "overlap": (16, 8), "halo": (4, 2)}
    data[:, ~live] = 0
    whole = reconstruct_section(data, WAVELET, solve, live=live, batch=1, **sizes)
    gain = smooth_gain(data, live)
    plan = plan_section(data.shape, **sizes)
    patches = []
    for block in cut_sections([300], [plan.trace], most):
        halo = find_halo(block, plan.trace)
        first, stop = halo.first, min(halo.stop, 300)
        at = np.arange(first, stop)
        known = np.flatnonzero(live)
        at = np.unique([*at, *known[known < first][-1:], *known[known >= stop][:1]])
        part = Part(data[:, at], at, live[at], first, stop)
        found = reconstruct_part(part, gain[:, first:stop], block, plan, lambda p: WAVELET.samples, solve, batch=1)
        core = slice(block.first, block.stop)
        assert np.array_equal(found.x, whole.x[:, core]) and np.array_equal(found.residual, whole.residual[:, core])
        patches += found.patches.tolist()
    assert sorted(patches) == whole.patches.tolist()
