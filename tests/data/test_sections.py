"""Sections of wells and models: what they keep of their source, how they enter pairs, and files that are wrong."""

import numpy as np
import pytest

from aafast.data.reflectivity import OVER
from aafast.data.sections import _column, open_sections
from aafast.errors import FileError, FormatError, InputError
from aafast.tasks import draw_pairs


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def wells(tmp_path):
    logs = {f"well {i}": (0.03 * rng(i).standard_normal(150 + 100 * i)).astype(np.float32) for i in range(3)}
    np.savez(tmp_path / "well_reflectivity_2ms.npz", **logs)
    np.savez(tmp_path / "well_reflectivity_4ms.npz", other=np.ones(300, np.float32))
    return tmp_path


def test_a_column_is_a_stretch_of_a_well():
    log = rng().standard_normal(400)
    column = _column(rng(1), [log], 100)
    assert column.shape == (100 * OVER,)
    samples = column[::OVER]
    starts = [s for s in range(300) if np.array_equal(samples, log[s : s + 100])]
    assert len(starts) == 1
    assert np.allclose(column[2::OVER], 0.5 * (samples + log[starts[0] + 1 : starts[0] + 101]))


def test_a_short_well_goes_on_mirrored():
    log = np.arange(5.0)
    assert _column(rng(), [log], 12)[::OVER].tolist() == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1]


def test_wells_become_sections_with_their_statistics(wells):
    (draw,) = open_sections(wells)
    section = np.concatenate([draw(rng(i), 120, 40) for i in range(12)], axis=1)
    assert section.dtype == np.float32 and section.shape == (120, 480)
    assert 0.018 < section.std() < 0.032  # of 0.03, less what reading between samples smooths
    assert np.abs(np.diff(section, axis=1)).mean() < np.abs(np.diff(section, axis=0)).mean() * 0.6  # layered


def test_pairs_of_wells_are_consistent_and_reproducible(wells):
    batch = draw_pairs("deconv", 3, (80, 16), source=wells, split="test", snr_db=(60.0, 60.0))
    rest = (batch.y - batch.true.A(batch.x))[:, :, 25:-25]
    assert rest.abs().max() < 0.02 and batch.x.shape == (3, 1, 80, 16)
    again = draw_pairs("deconv", 1, (80, 16), source=str(wells), split="test", snr_db=(60.0, 60.0), start=2)
    assert (again.y[0] == batch.y[2]).all() and (batch.x[0] != batch.x[1]).any()
    generated = draw_pairs("deconv", 3, (80, 16), split="test", snr_db=(60.0, 60.0))
    assert (generated.true.wavelet == batch.true.wavelet).all()  # the same draws but for the section


def test_a_file_by_its_own_path(wells):
    (draw,) = open_sections(wells / "well_reflectivity_4ms.npz")
    section = draw(rng(), 20, 4)
    assert np.allclose(np.abs(section), section[0, 0], atol=0.5) and section.max() > 0.5


def test_a_model_gives_half_the_steps_of_log_impedance(tmp_path):
    impedance = np.exp(np.cumsum(0.05 * rng().standard_normal((90, 30)), axis=0))
    np.savez(tmp_path / "poststack_model.npz", model=impedance, x=np.arange(30))
    (draw,) = open_sections(tmp_path)
    part = draw(rng(2), 60, 30)
    expected = 0.5 * np.diff(np.log(impedance), axis=0)
    assert any(np.allclose(part, expected[top : top + 60], atol=1e-6) for top in range(30))
    wide = draw(rng(2), 60, 50)
    assert np.array_equal(wide[:, 30:], wide[:, 29:9:-1]) and wide.shape == (60, 50)
    with pytest.raises(InputError, match="at most 89"):
        draw(rng(), 90, 8)


def test_water_is_avoided(tmp_path):
    impedance = np.full((400, 10), 1.5)
    impedance[300:] *= np.exp(np.cumsum(0.05 * rng().standard_normal((100, 10)), axis=0))
    np.savez(tmp_path / "a_model.npz", model=impedance)
    (draw,) = open_sections(tmp_path)
    assert all(draw(rng(seed), 50, 10).std() > 0.002 for seed in range(20))


def test_a_matlab_section(tmp_path):
    scipy_io = pytest.importorskip("scipy.io", reason="scipy reads and writes MATLAB files")
    r = rng().standard_normal((40, 6))
    scipy_io.savemat(tmp_path / "set.mat", {"r": r, "w": np.ones((5, 1))})
    (draw,) = open_sections(tmp_path / "set.mat")
    assert np.array_equal(draw(rng(), 40, 6), r.astype(np.float32))
    scipy_io.savemat(tmp_path / "other.mat", {"w": np.ones((5, 1))})
    with pytest.raises(FormatError, match="array r of .*other.mat: got nothing"):
        open_sections(tmp_path / "other.mat")


def test_the_files_of_a_folder_take_turns(wells):
    np.savez(wells / "poststack_model.npz", model=np.exp(np.cumsum(rng().standard_normal((200, 20)), axis=0)))
    assert len(open_sections(wells)) == 2
    batch = draw_pairs("deconv", 4, (24, 16), source=wells, split="test")
    alone = draw_pairs("deconv", 4, (24, 16), source=wells / "poststack_model.npz", split="test")
    same = [bool((a == b).all()) for a, b in zip(batch.x, alone.x, strict=True)]
    assert same == [False, True, False, True]


def test_they_are_test_sets_only(wells):
    for split in ("train", "valid"):
        with pytest.raises(InputError, match="test"):
            draw_pairs("deconv", 1, source=wells, split=split)


@pytest.mark.parametrize("name", ["", "missing", "missing.npz"])
def test_what_is_missing_is_said(tmp_path, name):
    with pytest.raises(FileError, match=r"expected well_reflectivity.*Put there"):
        draw_pairs("deconv", 1, source=tmp_path / name, split="test")


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"a": np.ones((3, 3))}, "on 1 axes"),
        ({"a": np.array([1.0, np.nan])}, "finite"),
        ({"a": np.arange(9)}, "floating-point"),
        ({"a": np.array([None, "x"], object)}, "damaged or unknown"),
        ({"model": np.zeros((9, 9))}, "impedances of 0"),
        ({"model": np.ones(9)}, "on 2 axes"),
        ({}, "no array"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, arrays, word):
    np.savez(tmp_path / "well_reflectivity_2ms.npz", **arrays)
    with pytest.raises(FormatError, match=word):
        draw_pairs("deconv", 1, source=tmp_path, split="test")


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    if suffix == ".mat":
        pytest.importorskip("scipy.io", reason="scipy reads MATLAB files")
    file = tmp_path / f"well_reflectivity_2ms{suffix}"
    file.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(FormatError, match=rf"{file.name}: got a damaged"):
        draw_pairs("deconv", 1, source=tmp_path, split="test")


@pytest.mark.parametrize("name", ["wells", "wells/well_reflectivity_4ms.npz", "synthetic"])
def test_the_shared_wells_and_models(shared, name):
    if name == "synthetic":
        pytest.importorskip("scipy.io", reason="one of the two files is MATLAB's")
    batch = draw_pairs("deconv", 4, source=shared / "data" / name, split="test")
    assert batch.x.shape == (4, 1, 128, 50) and batch.x.isfinite().all()
    assert (batch.true.A(batch.x).square().mean((1, 2, 3)).sqrt() > 0.3).all()
    rest = (batch.y - batch.true.A(batch.x))[:, :, 26:-26].square().mean((1, 2, 3))
    assert (rest < 0.5 * batch.y.square().mean((1, 2, 3))).all()
