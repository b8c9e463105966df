"""The gain is smooth, computed on the whole line, blind to dead traces and to single loud samples."""

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.survey.gain import FLOOR, nearest, smooth_gain


def decaying(samples=600, traces=120, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((samples, traces)) * 50 * np.exp(-np.arange(samples) / 300)[:, None]).astype(
        "f4"
    )


def test_divided_data_have_unit_rms_and_the_gain_follows_the_decay():
    data = decaying()
    gain = smooth_gain(data, np.ones(120, bool))
    assert 0.95 < np.sqrt(np.mean((data / gain) ** 2)) < 1.1
    expected = 50 * np.exp(-np.arange(600) / 300)
    assert np.abs(gain[100:-100].mean(1) / expected[100:-100] - 1).max() < 0.2


def test_it_changes_slowly_from_sample_to_sample_and_trace_to_trace():
    gain = smooth_gain(decaying(), np.ones(120, bool))
    assert np.abs(np.diff(np.log(gain), axis=0)).max() < 0.02
    assert np.abs(np.diff(np.log(gain), axis=1)).max() < 0.02


def test_dead_traces_do_not_count_and_leave_no_hole():
    data = decaying()
    live = np.ones(120, bool)
    whole = smooth_gain(data, live)
    live[30:50] = False
    for value in (0.0, 1e6, np.nan):
        data[:, 30:50] = value
        gain = smooth_gain(data, live)
        assert np.isfinite(gain).all() and np.abs(np.log(gain / whole)).max() < 0.25


def test_a_gap_wider_than_the_window_takes_the_gain_of_its_edges():
    data = decaying(traces=400)
    live = np.ones(400, bool)
    live[50:350] = False
    gain = smooth_gain(data, live)
    assert gain[:, 200].min() > 0 and 0.5 < np.median(gain[:, 200] / gain[:, 10]) < 2


def test_one_loud_sample_does_not_lower_its_neighbourhood():
    data = decaying()
    before = smooth_gain(data, np.ones(120, bool))
    data[300, 60] = 1e6
    after = smooth_gain(data, np.ones(120, bool))
    assert (after / before).max() < 1.5


def test_quiet_zones_are_held_by_the_floor():
    data = decaying(samples=1500)
    data[900:] = 0
    gain = smooth_gain(data, np.ones(120, bool))
    assert (gain[-100:] == gain.min()).all()
    # The level is the median of the nodes, which stand a little denser at the ends than samples do.
    assert gain.min() == pytest.approx(FLOOR * np.median(gain), rel=0.02)


def test_mostly_muted_data_still_give_a_positive_gain():
    data = np.zeros((2000, 20), np.float32)
    data[:100] = decaying(100, 20)
    gain = smooth_gain(data, np.ones(20, bool))
    assert np.isfinite(gain).all() and gain.min() > 0


def test_scaling_the_data_scales_the_gain():
    data = decaying()
    live = np.ones(120, bool)
    assert np.allclose(smooth_gain(8 * data, live), 8 * smooth_gain(data, live), rtol=1e-5)


def test_only_dead_traces_are_refused():
    with pytest.raises(InputError, match="dead"):
        smooth_gain(np.zeros((50, 5), np.float32), np.zeros(5, bool))


def test_nearest_matches_a_search_through_all():
    known = np.array([2, 3, 9, 20])
    found = nearest(known, 25)
    assert all(abs(found[k] - k) == np.abs(known - k).min() for k in range(25))
