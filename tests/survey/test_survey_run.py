"""`run`: bytes that survive, traces that pass through, files of every kind, wavelets, what it tells."""

import time

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.survey.layout import inspect
from aafast.survey.segy import Survey

from .conftest import correcting, quick, synthetic, write_segy


def differing(source, target):
    before, after = (np.fromfile(p, np.uint8) for p in (source, target))
    assert before.size == after.size
    return np.flatnonzero(before != after)


def by_trace(path):
    """Bytes of all headers before the traces, of trace headers [N, 240] and of samples [N, bytes]."""
    layout = inspect(path)
    raw = np.fromfile(path, np.uint8)
    traces = raw[layout.data :].reshape(layout.traces, -1)
    return raw[: layout.data], traces[:, :240], traces[:, 240:]


def read(path):
    with Survey(path) as survey:
        return survey.read(np.arange(survey.layout.traces))


def test_headers_and_dead_traces_keep_every_byte(segy, tmp_path):
    out = tmp_path / "out.sgy"
    result = quick(segy, out)
    (head, headers, samples), (head2, headers2, samples2) = by_trace(segy), by_trace(out)
    assert sorted({int(k) // 80 + 1 for k in np.flatnonzero(head != head2)}) == [2, 3, 4]
    assert np.array_equal(headers, headers2)
    changed = (samples != samples2).any(1)
    assert not changed[5:7].any() and changed.sum() == 38
    assert (result.live, result.dead, result.skipped, result.kind) == (38, 2, [], "2D")
    with Survey(out) as survey:
        assert survey.text[1].startswith("C 2 AAFAST ") and "ricker:25" in survey.text[3]
        assert np.isfinite(survey.read(np.arange(40))).all()


def test_the_text_header_can_be_left_alone(segy, tmp_path):
    quick(segy, tmp_path / "out.sgy", keep_text_header=True)
    assert np.array_equal(by_trace(segy)[0], by_trace(tmp_path / "out.sgy")[0])


def test_bad_traces_are_named_and_pass_with_skip_bad(tmp_path, line):
    line[10, 3], line[20, 30] = np.nan, np.inf
    source, out = write_segy(tmp_path / "in.sgy", line), tmp_path / "out.sgy"
    with pytest.raises(InputError, match="NaN or Inf in trace 4, 31;.*--skip-bad"):
        quick(source, out)
    assert not out.exists()
    result = quick(source, out, skip_bad=True)
    before, after = by_trace(source)[2], by_trace(out)[2]
    unchanged = (before == after).all(1)
    assert np.flatnonzero(unchanged).tolist() == [3, 30] and result.skipped == [4, 31] and result.dead == 0
    assert np.isfinite(np.delete(read(out), [3, 30], axis=1)).all()


def test_many_bad_traces_are_counted(tmp_path, line):
    line[0, :15] = np.nan
    with pytest.raises(InputError, match="1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 5 more"):
        quick(write_segy(tmp_path / "in.sgy", line), tmp_path / "out.sgy")


@pytest.mark.parametrize("endian, codec", [("big", "cp037"), ("little", "ascii")])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 6, 8])
def test_every_format_gives_the_same_reflectivity(tmp_path, line, code, endian, codec):
    data = np.round(line / np.abs(line).max() * 100)
    data[:, 7] = 0
    reference = quick(write_segy(tmp_path / "f.sgy", data), tmp_path / "f.out.sgy")
    source = write_segy(tmp_path / "in.sgy", data, code=code, endian=endian, codec=codec, extended=1)
    result = quick(source, tmp_path / "out.sgy")
    expected, found = read(reference.output), read(result.output) / result.scale
    step = 0.5 / result.scale if code in (2, 3, 8) else 2e-6 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= step * 1.001
    assert np.array_equal(by_trace(source)[1], by_trace(result.output)[1])
    assert (by_trace(source)[2][7] == by_trace(result.output)[2][7]).all()


def test_inlines_of_a_cube_are_solved_apart_in_any_order_of_traces(tmp_path):
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(3) + 10, np.arange(12) + 50, indexing="ij"))
    data = np.concatenate([synthetic(120, 12, seed=k) for k in range(3)], 1)
    order = np.random.default_rng(0).permutation(36)
    headers = {189: inline, 193: crossline}
    plain = quick(write_segy(tmp_path / "a.sgy", data, headers=headers), tmp_path / "a.out.sgy")
    mixed_headers = {byte: values[order] for byte, values in headers.items()}
    mixed = write_segy(tmp_path / "b.sgy", data[:, order], headers=mixed_headers)
    assert (plain.kind, plain.sections) == ("3D", 3)
    lone = quick(write_segy(tmp_path / "c.sgy", data[:, 12:24]), tmp_path / "c.out.sgy")
    assert np.array_equal(read(plain.output)[:, 12:24], read(lone.output))
    result = quick(mixed, tmp_path / "b.out.sgy")
    assert result.kind == "3D" and np.isfinite(read(result.output)).all()


def test_a_cube_with_a_dead_inline_and_one_bad_trace(tmp_path):
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(3), np.arange(10), indexing="ij"))
    data = np.concatenate([synthetic(120, 10, seed=k) for k in range(3)], 1)
    data[:, 10:20] = 0
    data[5, 25] = np.nan
    source = write_segy(tmp_path / "a.sgy", data, headers={189: inline + 1, 193: crossline + 1})
    result = quick(source, tmp_path / "out.sgy", skip_bad=True, wavelet="auto")
    unchanged = (by_trace(source)[2] == by_trace(result.output)[2]).all(1)
    assert np.flatnonzero(unchanged).tolist() == [*range(10, 20), 25] and result.dead == 10


def test_numbers_of_the_run(segy, tmp_path):
    result = quick(segy, tmp_path / "out.sgy", solve=correcting, patch=(64, 16), batch=4)
    patches = result.iterations.size
    assert result.status.shape == (patches,) and result.residuals.shape == (4, patches)
    assert result.wavelets.shape == (patches, result.wavelet.samples.size) and result.backend == "wiener"
    assert {
        "scan",
        "copy",
        "wavelet",
        "read",
        "gain",
        "solve",
        "residual",
        "write",
        "total",
    } <= result.seconds.keys()
    assert sum(v for k, v in result.seconds.items() if k != "total") <= result.seconds["total"] * 1.001
    data, x = read(segy), read(result.output)
    predicted = np.stack([np.convolve(trace, np.roll(result.wavelet.samples, 1), "same") for trace in x.T], 1)
    live = data.any(0)
    expected = np.linalg.norm((data - predicted)[:, live]) / np.linalg.norm(data[:, live])
    assert result.misfit == pytest.approx(expected, rel=1e-4)
    text = result.summary()
    assert (
        "38 solved, 2 dead" in text
        and str(result.output) in text
        and f"{patches}, {patches} converged" in text
    )
    result.status[:], result.iterations[:] = 2, 5  # an unrolled model stops by number only: no failure
    assert f"{patches}, 5 iterations each" in result.summary() and "converged" not in result.summary()
    result.status[0] = 3
    assert f"{patches}, 0 converged, iterations 5 to 5" in result.summary()


def test_wavelets_by_name_by_file_and_estimated(segy, tmp_path):
    out = tmp_path / "out.sgy"
    auto = quick(segy, out, wavelet="auto")
    assert auto.wavelet.source == "auto" and auto.wavelet.samples.size == 51
    assert abs(quick(segy, out, wavelet="auto", phase="zero").wavelet.phase) < 1e-3
    file = tmp_path / "w.txt"
    ricker = quick(segy, out).wavelet
    file.write_text("\n".join(f"{t} {a}" for t, a in zip(ricker.time, ricker.samples, strict=True)))
    given = quick(segy, out, wavelet=str(file)).wavelet
    assert given.source == "w.txt" and given.dominant == pytest.approx(25, abs=1)
    normal = read(quick(segy, out).output)
    assert np.allclose(read(quick(segy, out, polarity=-1).output), -normal, atol=1e-3)


def test_two_runs_give_the_same_bytes(segy, tmp_path):
    for name in ("a.sgy", "b.sgy"):
        quick(segy, tmp_path / name, wavelet="auto")
    assert differing(tmp_path / "a.sgy", tmp_path / "b.sgy").size == 0


@pytest.mark.parametrize("name", ["npra_31_81_PR", "F3_very_small", "f3_small", "f3-lsb", "multi-text"])
def test_real_files_run_or_say_why_not(shared, tmp_path, name):
    source = next((shared / "data").glob(f"*/{name}.sgy"))
    out = tmp_path / "out.sgy"
    start = time.perf_counter()
    if name == "multi-text":
        with pytest.raises(InputError, match="samples per trace: got 1; expected 16 or more"):
            quick(source, out, wavelet="auto")
        return
    result = quick(source, out, wavelet="auto")
    (head, headers, _), (head2, headers2, _) = by_trace(source), by_trace(out)
    lines = {int(k) // 80 for k in np.flatnonzero(head != head2)}
    assert len(lines) == 3 and max(lines) < 38 and np.array_equal(headers, headers2)
    assert np.isfinite(read(out)).all() and result.dead == 0
    assert result.kind == ("2D" if name.startswith("npra") else "3D")
    assert result.misfit < 0.3 and time.perf_counter() - start < 60
