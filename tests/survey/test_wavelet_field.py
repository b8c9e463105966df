"""Wavelets that vary with time and place, and the volume of those that adaptation found."""

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.survey.plan import make_plan
from aafast.survey.wavelet import make_wavelet, ricker
from aafast.survey.wavelet_field import WaveletField, check_windows, load_field, save_field

from .conftest import correcting, quick, wiener, write_segy

LOW, HIGH = ricker(18, 4.0).samples, ricker(36, 4.0).samples


def varying(samples=480, traces=96, seed=0):
    """Sparse layers under a wavelet that loses frequencies with depth: 36 Hz above, 18 Hz below."""
    rng = np.random.default_rng(seed)
    spikes = rng.laplace(size=(samples, traces)) * (rng.random((samples, traces)) < 0.2)
    share = np.linspace(0, 1, samples)[:, None]
    low, high = (np.stack([np.convolve(t, w, "same") for t in spikes.T], 1) for w in (LOW, HIGH))
    return (100 * ((1 - share) * high + share * low) + rng.standard_normal(spikes.shape)).astype(np.float32)


def dominant(taps):
    return make_wavelet(taps, 4.0, "test").dominant


def test_wavelets_are_blended_linearly_and_depend_on_the_patch_alone():
    taps = np.stack([[HIGH, LOW], [LOW, HIGH]])
    field = WaveletField(taps, np.array([50.0, 150]), np.array([10.0, 30]))
    plan = make_plan((200, 60), (40, 16), (8, 4))
    patches = list(plan)
    found = field.of(0, patches)
    assert found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    for k, patch in enumerate(patches):
        assert np.array_equal(found[k], field.of(0, [patch])[0])
    t, x = 100.0, 20.0  # the middle of all four
    middle = 0.5 * (HIGH + LOW)
    assert np.allclose(field._at(t, x), middle / np.linalg.norm(middle), atol=1e-6)
    assert np.allclose(field._at(0, 0), HIGH, atol=1e-6) and np.allclose(field._at(500, 900), HIGH, atol=1e-6)
    assert np.allclose(field.of(20, [patches[0]])[0], field._at(19.5, 27.5), atol=1e-6)  # from the section's place on


def test_one_window_is_one_wavelet(tmp_path):
    field = WaveletField(LOW[None, None], np.array([100.0]), np.array([10.0]))
    assert np.allclose(field.of(0, list(make_plan((200, 60), (40, 16), (8, 4)))), LOW, atol=1e-6)
    save_field(tmp_path, field)
    again = load_field(tmp_path)
    assert np.array_equal(again.taps, field.taps) and np.array_equal(again.places, field.places)
    assert load_field(tmp_path / "none") is None


@pytest.mark.parametrize("windows", [(0, 1), (1, 0), (1, 11), (5, 1)])
def test_windows_that_cannot_be_are_refused(windows):
    with pytest.raises(InputError, match="windows of the wavelet.*expected 1 to 2 in time, 1 to 10 areas"):
        check_windows(windows, samples=200, traces=10)
    check_windows((1, 10), samples=16, traces=10)


def test_a_run_finds_the_change_with_depth_and_uses_it(tmp_path):
    source = write_segy(tmp_path / "a.sgy", varying())
    seen = []

    def solve(y, A0):
        seen.append(A0.wavelet.detach().numpy().copy())
        return wiener(y, A0)

    options = {"wavelet": "auto", "solve": solve, "patch": (128, 24)}
    result = quick(source, tmp_path / "b.sgy", wavelet_windows=(3, 2), batch=3, **options)
    taps = np.concatenate(seen)
    found = [dominant(w) for w in taps]
    assert len(found) == result.status.size and max(found) - min(found) > 8
    quick(source, tmp_path / "c.sgy", wavelet_windows=(3, 2), batch=7, **options)
    assert (tmp_path / "b.sgy").read_bytes() == (tmp_path / "c.sgy").read_bytes()
    one = quick(source, tmp_path / "d.sgy", **options)
    assert result.misfit < one.misfit


def test_windows_need_the_automatic_wavelet(tmp_path):
    source = write_segy(tmp_path / "a.sgy", varying(200, 24))
    with pytest.raises(InputError, match="windows of the wavelet: got the wavelet ricker:25 with it"):
        quick(source, tmp_path / "b.sgy", wavelet_windows=(3, 1))
    with pytest.raises(InputError, match="Choose fewer"):
        quick(source, tmp_path / "b.sgy", wavelet="auto", wavelet_windows=(9, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["a.sgy"]


def test_corrected_wavelets_are_written_with_their_places(tmp_path):
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(3) + 7, np.arange(30) + 50, indexing="ij"))
    data = np.concatenate([varying(160, 30, seed=k) for k in range(3)], 1)
    source = write_segy(tmp_path / "a.sgy", data, headers={189: inline, 193: crossline}, t0=100)
    result = quick(source, tmp_path / "b.sgy", solve=correcting, patch=(64, 16), corrected_wavelets=tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as held:
        volume = {name: held[name] for name in held.files}
    count = result.status.size
    assert volume["wavelets"].shape == (count, 51) and np.array_equal(volume["wavelets"], result.wavelets)
    assert np.allclose(volume["nominal"], result.wavelet.samples) and float(volume["interval"]) == 4.0
    assert str(volume["axis"]) == "crossline" and sorted(set(volume["inline"].tolist())) == [7, 8, 9]
    assert volume["traces"].min() == 50 and volume["traces"].max() == 79
    assert volume["times"].min() == 100 and volume["times"].max() == 100 + 4 * 159
    # One sample later at 25 Hz is 36 degrees; the power's mean frequency lies a little above the peak.
    assert np.allclose(volume["phase_change"], -39, atol=5) and np.abs(volume["frequency_change"]).max() < 0.2


def test_a_model_that_corrects_no_wavelet_is_said(tmp_path):
    source = write_segy(tmp_path / "a.sgy", varying(160, 24))
    result = quick(source, tmp_path / "b.sgy", corrected_wavelets=tmp_path / "w.npz")
    assert any("corrects no wavelet: w.npz" in warning for warning in result.warnings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sgy", "b.sgy"]
