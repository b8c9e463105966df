"""Patches cover a section, anchored to absolute coordinates, with weights that sum to exactly one."""

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.survey.plan import make_plan

CASES = [
    # shape, patch, overlap, halo
    ((160, 40), (64, 16), (16, 4), (4, 1)),
    ((1501, 534), (256, 64), (64, 16), (16, 4)),
    ((100, 100), (33, 17), (32, 16), (0, 0)),  # a step of one sample
    ((65, 41), (64, 40), (63, 2), (31, 0)),
    ((8, 8), (256, 64), (64, 16), (16, 4)),  # smaller than a patch
    ((257, 9), (256, 64), (64, 16), (16, 4)),  # one sample more than a patch
    ((500, 300), (128, 32), (0, 0), (0, 0)),
]


@pytest.mark.parametrize("origin", [(0, 0), (37, 11), (1000, 63)])
@pytest.mark.parametrize("case", CASES)
def test_weights_sum_to_exactly_one_everywhere(case, origin):
    shape, patch, overlap, halo = case
    plan = make_plan(shape, patch, overlap, halo, origin)
    total = np.zeros(shape, np.float32)
    for p in plan:
        assert p.weight.shape == plan.patch == (min(patch[0], shape[0]), min(patch[1], shape[1]))
        assert p.weight.min() >= 0 and p.weight.max() <= 1
        total[p.time, p.trace] += p.weight
    assert (total == 1).all()


def test_inner_patches_start_at_multiples_of_the_step_in_absolute_coordinates():
    origin = (1000, 63)
    plan = make_plan((500, 300), (64, 32), (16, 8), (4, 2), origin)
    for axis, first, step in ((plan.time, origin[0], 48), (plan.trace, origin[1], 24)):
        inner = axis.starts[1:-1]
        assert len(inner) > 3 and all((first + start) % step == 0 for start in inner)
        assert axis.starts[0] == 0 and axis.starts[-1] + axis.patch == axis.size


def test_a_patch_says_nothing_in_its_halo_but_at_the_ends_of_the_section():
    plan = make_plan((300, 64), (100, 64), (40, 0), (12, 0))
    first, inner, last = (plan[k].weight[:, 0] for k in (0, 1, len(plan) - 1))
    assert (inner[:12] == 0).all() and (inner[-12:] == 0).all() and inner[50] == 1
    assert (first[:50] == 1).all() and (first[-12:] == 0).all()
    assert (last[-30:] == 1).all() and (last[:12] == 0).all()


def test_neighbours_blend_along_a_raised_cosine():
    plan = make_plan((200, 8), (100, 8), (20, 0))
    weight = plan.time.weights[0][-20:]
    phase = (np.arange(20) + 0.5) / 20 * np.pi / 2
    assert np.abs(weight - np.cos(phase) ** 2).max() < 1 / 4096
    assert (np.diff(weight) < 0).all()


@pytest.mark.parametrize(
    "arguments",
    [
        ((7, 40), (64, 16), (16, 4), (4, 1)),
        ((100, 40), (7, 16), (4, 4), (0, 0)),
        ((100, 40), (64, 16), (64, 4), (0, 0)),
        ((100, 40), (64, 16), (16, -1), (0, 0)),
        ((100, 40), (64, 16), (16, 4), (8, 1)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments):
    with pytest.raises(InputError, match="expected"):
        make_plan(*arguments)
    with pytest.raises(IndexError):
        make_plan((100, 40), (64, 16), (16, 4))[10_000]
