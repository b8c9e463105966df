"""Reading by position, and output that differs from its input in the samples it was given only."""

import os

import numpy as np
import pytest

from aafast.errors import FileError
from aafast.survey import segy_output
from aafast.survey.files import AtomicFile
from aafast.survey.segy import Survey
from aafast.survey.segy_output import SegyTarget

from .conftest import give, write_segy


def copy_with(source, target, traces, samples, lines=()):
    with Survey(source) as survey:
        output = SegyTarget(survey.layout, target, target.with_name("partial"))
        output.prepare()
        give(survey, output, traces, samples)
        return output, output.commit(list(lines))


def read_all(path):
    with Survey(path) as survey:
        return survey.read(np.arange(survey.layout.traces))


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 6, 8])
def test_samples_are_read_in_every_format_by_any_choice_of_traces(tmp_path, code, endian):
    data = np.round(100 * np.sin(np.arange(20 * 9).reshape(20, 9)))
    path = write_segy(tmp_path / "a.sgy", data, code=code, endian=endian)
    with Survey(path) as survey:
        for traces in ([0, 1, 2], [4], [8, 2, 5], [1, 3]):
            assert np.array_equal(survey.read(np.array(traces)), data[:, traces].astype(np.float32))
        assert survey.read(np.arange(9)).dtype == np.float32


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 6, 8])
def test_only_the_samples_that_are_written_change(tmp_path, code, endian):
    data = np.round(100 * np.sin(np.arange(20 * 9).reshape(20, 9)))
    source = write_segy(tmp_path / "a.sgy", data, code=code, endian=endian, extended=1)
    target = tmp_path / "b.sgy"
    traces = [1, 2, 6]
    output, notes = copy_with(source, target, traces, -data[:, traces].astype(np.float32))
    before, after = source.read_bytes(), target.read_bytes()
    expected = data.copy()
    expected[:, traces] *= -1
    same = write_segy(tmp_path / "c.sgy", expected, code=code, endian=endian, extended=1).read_bytes()
    assert after == same and len(after) == len(before) and output.scale == 1
    assert notes == []


def test_declared_text_lines_are_the_only_other_change(tmp_path):
    source = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    copy_with(source, tmp_path / "b.sgy", [0], np.ones((20, 1), np.float32), ["HELLO"])
    before, after = source.read_bytes(), (tmp_path / "b.sgy").read_bytes()
    assert [k // 80 for k in range(len(before)) if before[k] != after[k]] == [1] * 5
    assert after[80:160].decode("cp037").rstrip() == "C 2 HELLO"


@pytest.mark.parametrize("code, largest", [(8, 127), (3, 32767), (2, 2**31 - 1)])
def test_integers_that_overflow_share_one_factor(tmp_path, code, largest):
    data = np.round(100 * np.sin(np.arange(60).reshape(20, 3)))
    source = write_segy(tmp_path / "a.sgy", data, code=code)
    result = (data * largest / 40).astype(np.float32)  # the peak is 2.5 times what the format holds
    output, notes = copy_with(source, tmp_path / "b.sgy", [0, 1, 2], result, ["PARAMETERS"])
    assert 0.38 < output.scale < 0.4 + 1e-9 and any("multiplied" in note for note in notes)
    found = read_all(tmp_path / "b.sgy").astype(np.float64)
    assert (
        np.abs(found).max() <= largest
        and np.abs(found - result * output.scale).max() <= 0.5 + 2**-23 * largest
    )
    with Survey(tmp_path / "b.sgy") as survey:
        assert f"C 3 samples multiplied by {output.scale:g}" in survey.text


def test_integers_that_fit_are_rounded_and_coarse_rounding_is_said(tmp_path):
    source = write_segy(tmp_path / "a.sgy", np.zeros((20, 3)), code=3)
    values = np.linspace(-3, 3, 60).reshape(20, 3).astype(np.float32)
    output, notes = copy_with(source, tmp_path / "b.sgy", [0, 1, 2], values)
    assert output.scale == 1 and np.array_equal(read_all(tmp_path / "b.sgy"), np.rint(values))
    assert len(notes) == 1 and "coarse" in notes[0]


def test_dead_and_bad_traces_are_told_apart(tmp_path):
    data = np.random.default_rng(0).standard_normal((20, 6))
    data[:, 1], data[:, 2] = 0, 3.5
    data[4, 3], data[5, 4] = np.nan, -np.inf
    with Survey(write_segy(tmp_path / "a.sgy", data)) as survey:
        dead, bad = survey.scan()
    assert dead.tolist() == [False, True, True, False, False, False]
    assert bad.tolist() == [False, False, False, True, True, False]


def test_a_result_that_is_thrown_away_leaves_nothing(tmp_path):
    source = write_segy(tmp_path / "a.sgy", np.ones((20, 3)), code=3)
    with Survey(source) as survey:
        output = SegyTarget(survey.layout, tmp_path / "b.sgy", tmp_path / "partial")
        output.prepare()
        output.write(np.arange(2), survey.read_whole(np.arange(2))[0], np.ones((20, 2), np.float32))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sgy", "partial", "partial.floats"]
        output.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sgy"]


@pytest.mark.parametrize("code", [3, 5])
def test_every_byte_is_written_once(tmp_path, monkeypatch, code):
    data = np.round(100 * np.sin(np.arange(20 * 30).reshape(20, 30)))
    source, target = write_segy(tmp_path / "a.sgy", data, code=code, extended=1), tmp_path / "b.sgy"
    written, real = np.zeros(source.stat().st_size, int), os.pwrite

    def pwrite(handle, part, place):
        if os.readlink(f"/proc/self/fd/{handle}").endswith("partial"):
            written[place:place + len(part)] += 1
        return real(handle, part, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with Survey(source) as survey:
        output = SegyTarget(survey.layout, target, target.with_name("partial"))
        output.prepare()
        assert output.partial.stat().st_size == written.size and not written.any()
        assert output.partial.read_bytes()[:6800] == source.read_bytes()[:6800]
        for traces in (np.arange(10, 25), np.arange(10), np.array([26, 28])):
            headers, rows = survey.read_whole(traces)
            output.write(traces, headers, rows)
        output.put(np.array([25, 27, 29]), survey.gather(np.array([25, 27, 29])))
        output.commit()
    assert target.read_bytes() == source.read_bytes()
    assert (written[6800:] == 1).all() and not written[:6800].any()


def test_the_room_is_claimed_beforehand(tmp_path, monkeypatch):
    source = write_segy(tmp_path / "a.sgy", np.ones((500, 300)))
    with Survey(source) as survey:
        output = SegyTarget(survey.layout, tmp_path / "b.sgy", tmp_path / "partial")
        output.prepare()
        status = output.partial.stat()
        if status.st_blocks * 512 < status.st_size:
            pytest.skip("this file system cannot set room aside")
        output.discard()
        refused = type("C", (), {"fallocate": lambda *_: -1})
        monkeypatch.setattr(segy_output.ctypes, "CDLL", lambda *_, **__: refused())
        monkeypatch.setattr(segy_output.ctypes, "get_errno", lambda: 28)
        with pytest.raises(FileError, match="No space left"):
            output.prepare()
        assert not output.partial.exists()
        monkeypatch.setattr(segy_output.ctypes, "get_errno", lambda: 95)  # not supported: a full disk shows later
        output.prepare()
        assert output.partial.stat().st_size == source.stat().st_size
        output.discard()


def test_samples_without_their_headers_are_refused(tmp_path):
    with Survey(write_segy(tmp_path / "a.sgy", np.ones((20, 3)))) as survey:
        output = SegyTarget(survey.layout, tmp_path / "b.sgy", tmp_path / "partial")
        output.prepare()
        with pytest.raises(FileError, match="whole traces"):
            output.write(np.arange(2), np.zeros((1, 240), np.uint8), np.ones((20, 2), np.float32))
        with pytest.raises(FileError, match="whole traces"):
            output.write(np.arange(2), np.zeros((2, 240), np.uint8), np.ones((19, 2), np.float32))
        output.discard()


def test_targets_that_cannot_be_written_are_refused_before_anything_is(tmp_path, monkeypatch):
    source = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    (tmp_path / "link.sgy").symlink_to(source)
    (tmp_path / "hard.sgy").hardlink_to(source)
    (tmp_path / "folder").mkdir()
    cases = [
        (source, "the same file"),
        (tmp_path / "folder" / ".." / "a.sgy", "the same file"),
        (tmp_path / "link.sgy", "the same file"),
        (tmp_path / "hard.sgy", "the same file"),
        (tmp_path / "folder", "a folder"),
        (tmp_path / "none" / "b.sgy", "no such folder"),
        (source / "b.sgy", "not a folder"),
        ("/dev/null", "not a plain file"),
        ("/proc/b.sgy", "a folder to write in|bytes free"),
    ]
    before = source.read_bytes()
    with Survey(source) as survey:
        for target, words in cases:
            with pytest.raises(FileError, match=words):
                AtomicFile(target, (survey.path,))
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
        with pytest.raises(FileError, match="100 bytes free"):
            AtomicFile(tmp_path / "b.sgy", (survey.path,), source.stat().st_size)
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sgy", "folder", "hard.sgy", "link.sgy"]
