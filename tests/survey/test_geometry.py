"""Traces are sorted into lines and inlines by their headers."""

import numpy as np

from aafast.survey.geometry import find_geometry


def grid(inlines=5, crosslines=8):
    inline, crossline = np.meshgrid(np.arange(inlines) + 100, np.arange(crosslines) * 2 + 7, indexing="ij")
    return inline.ravel(), crossline.ravel()


def every_trace_once(geometry, count):
    return sorted(np.concatenate([s.traces for s in geometry.sections]).tolist()) == list(range(count))


def test_a_line_without_grid_numbers_is_2d_and_counted_by_cdp():
    zeros = np.zeros(20, int)
    geometry = find_geometry(zeros, zeros, np.arange(20) + 101)
    assert geometry.kind == "2D" and len(geometry.sections) == 1
    assert geometry.sections[0].axis == "CDP" and geometry.sections[0].numbers[0] == 101


def test_cdp_numbers_that_do_not_count_are_replaced_by_trace_numbers():
    for cdp in (np.zeros(20, int), np.r_[1:11, 1:11]):
        section = find_geometry(np.zeros(20, int), np.zeros(20, int), cdp).sections[0]
        assert section.axis == "trace" and section.numbers.tolist() == list(range(1, 21))


def test_inlines_are_sections_whichever_way_the_file_is_sorted():
    inline, crossline = grid()
    for order in (np.arange(40), np.lexsort((inline, crossline)), np.random.default_rng(0).permutation(40)):
        geometry = find_geometry(inline[order], crossline[order], np.zeros(40, int))
        assert geometry.kind == "3D" and [s.title for s in geometry.sections] == [
            f"inline {k}" for k in range(100, 105)
        ]
        assert every_trace_once(geometry, 40)
        for section in geometry.sections:
            assert len(set(inline[order][section.traces])) == 1 and (np.diff(section.traces) > 0).all()
            assert np.array_equal(section.numbers, crossline[order][section.traces])


def test_missing_traces_leave_shorter_inlines():
    inline, crossline = grid()
    keep = np.ones(40, bool)
    keep[[3, 4, 17, 39]] = False
    geometry = find_geometry(inline[keep], crossline[keep], np.zeros(36, int))
    assert geometry.kind == "3D" and [s.traces.size for s in geometry.sections] == [6, 8, 7, 8, 7]


def test_numbers_that_form_no_grid_are_one_line():
    inline, crossline = grid()
    repeated = find_geometry(np.tile(inline, 2), np.tile(crossline, 2), np.zeros(80, int))
    junk = np.random.default_rng(1).integers(0, 1 << 30, (2, 50))
    for geometry, count in ((repeated, 80), (find_geometry(*junk, np.zeros(50, int)), 50)):
        assert geometry.kind == "irregular" and len(geometry.sections) == 1 and "no grid" in geometry.notes[0]
        assert every_trace_once(geometry, count)


def test_one_inline_or_one_crossline_is_a_line():
    numbers = np.arange(30)
    assert find_geometry(np.full(30, 5), numbers, numbers).kind == "2D"
    assert find_geometry(numbers, np.full(30, 5), numbers).kind == "2D"
    assert find_geometry(np.array([1]), np.array([1]), np.array([1])).kind == "2D"


def test_a_few_repeated_numbers_leave_a_cube_and_are_said():
    inline, crossline = (np.append(numbers, numbers[7]) for numbers in grid(20, 30))
    geometry = find_geometry(inline, crossline, np.zeros(601, int))
    assert geometry.kind == "3D" and "1 traces repeat" in geometry.notes[0] and every_trace_once(geometry, 601)
    junk = np.array([-(2**31), 2**31 - 1] * 8)  # the widest numbers a header can hold
    assert find_geometry(junk, np.arange(16), np.zeros(16)).kind == "3D"
