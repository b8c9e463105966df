"""Well ties: logs to reflectivity by the formula, the phase that was put in, and files that are no logs."""

import numpy as np
import pytest

from aafast.errors import FileError, FormatError, InputError
from aafast.survey.wavelet import ricker
from aafast.survey.wells import Well, parse_well, read_las, reflectivity, tie

from .conftest import quick, write_segy
from .test_wavelet_estimate import rotated

lasio = pytest.importorskip("lasio", reason="the extra wells is not installed")

HEAD = """~V
VERS. 2.0 : CWLS
WRAP. NO  :
~W
STRT.{unit} {first} : start
STOP.{unit} {last} : stop
STEP.{unit} {step} : step
NULL. -999.25 : null
~C
DEPT.{unit} : depth
DT.{sonic} : sonic
{density}~A
"""


def logs(seed=0, count=4000):
    """Depth (m), sonic (us/m), density (g/cm3): layers of 2 to 30 m."""
    rng = np.random.default_rng(seed)
    depth = 800 + 0.25 * np.arange(count)
    layer = np.cumsum(rng.random(count) < 0.03)
    velocity = (2500 + 400 * rng.standard_normal(layer[-1] + 1))[layer]
    density = (2.3 + 0.1 * rng.standard_normal(layer[-1] + 1))[layer]
    return depth, 1e6 / np.clip(velocity, 1600, 5000), np.clip(density, 1.6, 3)


def write_las(path, depth, sonic, density=None, feet=False, null=()):
    unit = 0.3048 if feet else 1.0
    rows = [depth / unit, sonic * unit] + ([density] if density is not None else [])
    table = np.stack(rows, 1)
    table[list(null), 1] = -999.25
    head = HEAD.format(unit="F" if feet else "M", sonic="US/F" if feet else "US/M", first=rows[0][0], last=rows[0][-1],
                       step=0.25 / unit, density="RHOB.G/C3 : density\n" if density is not None else "")
    path.write_text(head + "\n".join(" ".join(f"{v:.6f}" for v in row) for row in table) + "\n")
    return path


@pytest.mark.parametrize("feet", [False, True])
def test_logs_are_read_in_metres_whatever_their_units_and_without_nulls(tmp_path, feet):
    depth, sonic, density = logs()
    path = write_las(tmp_path / "w.las", depth, sonic, density, feet, null=(3, 7))
    found = read_las(path)
    keep = np.setdiff1d(np.arange(depth.size), (3, 7))
    for a, b in zip(found, (depth, sonic, density), strict=True):
        assert np.allclose(a, b[keep], rtol=1e-4)
    assert read_las(write_las(path, depth, sonic))[2] is None


def test_reflectivity_of_two_half_spaces_is_one_spike():
    depth = 0.5 * np.arange(2001)
    velocity = np.where(depth < 500, 2000.0, 3000.0)
    r = reflectivity(depth, 1e6 / velocity, np.full(2001, 2.2), 2.0)
    assert r.sum() == pytest.approx(np.log(3 / 2) / 2, rel=1e-9) and np.count_nonzero(np.abs(r) > 1e-9) <= 2
    assert np.abs(r).argmax() in (248, 249)  # 500 m at 2000 m/s: 500 ms of two-way time
    gardner = reflectivity(depth, 1e6 / velocity, None, 2.0)
    assert gardner.sum() == pytest.approx(1.25 * np.log(3 / 2) / 2, rel=1e-9)


@pytest.mark.parametrize("degrees", [-150, -60, 0, 45, 120])
def test_phase_and_start_of_a_trace_made_from_the_well_are_found(degrees):
    r = reflectivity(*logs(), 4.0)
    truth = rotated(ricker(25, 4.0).samples, degrees)
    rng = np.random.default_rng(1)
    data = 0.02 * rng.standard_normal(r.size + 120)
    start = 37
    data[start:start + r.size] += np.convolve(r, truth, "same")
    for known in (None, 100 + 4 * start + 60.0):
        found = tie(ricker(25, 4.0), Well("w", r, 1, known), data, 100.0)
        assert abs((found.phase - degrees + 180) % 360 - 180) < 6
        assert f"from {100 + 4 * start} ms" in found.notes[0] and "correlation 0.9" in found.notes[0]


def test_a_poor_tie_leaves_the_wavelet_and_says_so():
    rng = np.random.default_rng(0)
    wavelet = ricker(25, 4.0)
    found = tie(wavelet, Well("w", 0.1 * rng.standard_normal(150), 1, 100.0), rng.standard_normal(400), 0.0)
    assert np.allclose(found.samples, wavelet.samples, atol=1e-6) and "that of statistics" in found.notes[0]


def test_a_run_takes_the_phase_of_the_well(tmp_path):
    r = reflectivity(*logs(), 4.0)
    write_las(tmp_path / "w.las", *logs())
    rng = np.random.default_rng(2)
    traces = np.stack([np.convolve(np.roll(r, k // 8), -ricker(25, 4.0).samples, "same") for k in range(24)], 1)
    data = np.pad(traces, ((30, 40), (0, 0))) + 0.002 * rng.standard_normal((r.size + 70, 24))
    source = write_segy(tmp_path / "a.sgy", 1000 * data)
    plain = quick(source, tmp_path / "b.sgy", wavelet="auto")
    tied = quick(source, tmp_path / "c.sgy", wavelet="auto", well=f"{tmp_path / 'w.las'}@3:120")
    assert any("w.las at trace 3, from 120 ms" in warning for warning in tied.warnings)
    assert abs(abs(tied.wavelet.phase) - 180) < 20  # reverse polarity, which statistics cannot see
    assert abs(plain.wavelet.phase) < 90
    for options, words in (
        ({"well": f"{tmp_path / 'w.las'}@99"}, "trace 99; expected 1 to 24"),
        ({"well": f"{tmp_path / 'w.las'}@3", "wavelet": "ricker:25"}, "Leave out one"),
        ({"well": f"{tmp_path / 'w.las'}@3", "wavelet_windows": (1, 2)}, "Leave out one"),
    ):
        with pytest.raises(InputError, match=words):
            quick(source, tmp_path / "d.sgy", **{"wavelet": "auto", **options})
    assert not (tmp_path / "d.sgy").exists()


def test_words_and_files_that_are_no_well(tmp_path):
    good = write_las(tmp_path / "w.las", *logs())
    assert parse_well(f"{good}@7:850", 4.0).start == 850.0
    for spec in ("", "w.las", "@3", "w.las@0", "w.las@x", "w.las@3:x", "w.las@3:nan"):
        with pytest.raises(InputError, match="FILE.las@TRACE"):
            parse_well(spec, 4.0)
    with pytest.raises(FileError, match="readable LAS file"):
        read_las(tmp_path / "none.las")
    (tmp_path / "bad.las").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(FormatError, match="LAS"):
        read_las(tmp_path / "bad.las")
    depth, sonic, _ = logs()
    no_sonic = write_las(tmp_path / "n.las", depth, sonic)
    no_sonic.write_text(no_sonic.read_text().replace("DT.US/M", "GR.API"))
    with pytest.raises(FormatError, match="a sonic log"):
        read_las(no_sonic)
    words = write_las(tmp_path / "x.las", depth, sonic)
    words.write_text(words.read_text().replace(f"{sonic[9]:.6f}", "4x2.07"))
    with pytest.raises(FormatError, match="a LAS file"):
        read_las(words)
    for depths in (depth[:2], depth * 1e12):  # too little for two samples; more than any trace spans
        with pytest.raises(InputError, match="ms; expected 8 to 100000 ms"):
            reflectivity(depths, sonic[: len(depths)], None, 4.0)
    short = Well("w", np.ones(500), 1, None)
    with pytest.raises(InputError, match="at most 400"):
        tie(ricker(25, 4.0), short, np.zeros(400), 0.0)
    with pytest.raises(InputError, match="a start at 9000 ms"):
        tie(ricker(25, 4.0), Well("w", np.ones(100), 1, 9000.0), np.zeros(400), 0.0)
