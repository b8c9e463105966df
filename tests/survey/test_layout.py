"""SEG-Y headers are checked against the file's size before anything is read."""

import os
import struct
import tracemalloc

import numpy as np
import pytest

from aafast.errors import FileError, FormatError
from aafast.survey.layout import FORMATS, inspect

from .conftest import write_segy


def patched(path, byte, raw):
    data = bytearray(path.read_bytes())
    data[byte - 1 : byte - 1 + len(raw)] = raw
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", sorted(FORMATS))
def test_facts_of_every_format_and_byte_order(tmp_path, code, endian):
    data = np.arange(60.0).reshape(20, 3)
    path = write_segy(tmp_path / "a.sgy", data, dt=2.0, code=code, endian=endian, extended=2, t0=-8)
    layout = inspect(path)
    assert (layout.samples, layout.traces, layout.interval, layout.t0) == (20, 3, 2.0, -8.0)
    assert (layout.endian, layout.format.code, layout.extended, layout.data) == (endian, code, 2, 10_000)
    assert layout.size == os.path.getsize(path) and layout.warnings == ()


def test_time_scalar_applies_to_the_delay(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)), t0=15)
    assert inspect(patched(path, 3601 + 214, struct.pack(">h", -10))).t0 == 1.5
    assert inspect(patched(path, 3601 + 214, struct.pack(">h", 10))).t0 == 150.0


def test_headers_that_disagree_with_traces_are_warnings(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    layout = inspect(patched(path, 3601 + 114, struct.pack(">HH", 462, 2000)))
    assert len(layout.warnings) == 2 and "462" in layout.warnings[0] and "2000" in layout.warnings[1]


def test_missing_empty_and_odd_files(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        inspect(tmp_path / "none.sgy")
    with pytest.raises(FileError, match="not a plain file"):
        inspect(tmp_path)
    with pytest.raises(FileError, match="not a plain file"):
        inspect("/dev/zero")
    (tmp_path / "empty.sgy").write_bytes(b"")
    with pytest.raises(FileError, match="an empty file"):
        inspect(tmp_path / "empty.sgy")


@pytest.mark.parametrize(
    "size", [1, 3599, 3600, 3839, 3840 + 79, 3840 + 81, 3600 + 2 * 320 + 17, 3600 + 3 * 320 - 1]
)
def test_truncated_files(tmp_path, size):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileError, match="truncated"):
        inspect(path)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" * 2000, b"plain text, line by line\n" * 400, bytes(9000)]
)
def test_files_that_are_not_segy(tmp_path, content):
    path = tmp_path / "a.sgy"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="format code at byte 3225.*Check that this is a SEG-Y file"):
        inspect(path)


@pytest.mark.parametrize(
    "code, words", [(4, "fixed point"), (7, "3-byte"), (11, "unsigned 2-byte"), (16, "unsigned")]
)
def test_formats_that_cannot_hold_a_result_are_named(tmp_path, code, words):
    path = patched(write_segy(tmp_path / "a.sgy", np.ones((20, 3))), 3225, struct.pack(">H", code))
    with pytest.raises(FormatError, match=words):
        inspect(path)


def test_unknown_format_zero_interval_and_zero_samples(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    good = path.read_bytes()
    for byte, raw, words in (
        (3225, struct.pack(">H", 77), "got 77; expected 1 "),
        (3217, bytes(2), "sample interval at byte 3217: got 0"),
        (3221, bytes(2), "samples per trace at byte 3221: got 0"),
        (3505, struct.pack(">h", -1), "variable number"),
    ):
        path.write_bytes(good)
        with pytest.raises(FormatError, match=words):
            inspect(patched(path, byte, raw))


def test_the_interval_can_be_given_where_the_header_has_none(tmp_path):
    path = patched(write_segy(tmp_path / "a.sgy", np.ones((20, 3))), 3217, bytes(2))
    assert inspect(path, interval=2.5).interval == 2.5
    for wrong in (0.0, -4.0, float("nan"), 1e9):
        with pytest.raises(FormatError, match="sample interval"):
            inspect(path, interval=wrong)


@pytest.mark.parametrize(
    "byte, raw",
    [
        (3221, struct.pack(">H", 65535)),
        (3505, struct.pack(">h", 32767)),
        (3501, b"\x02\x00"),  # revision 2, whose extended sample count is next
    ],
)
def test_absurd_claims_are_refused_without_allocating(tmp_path, byte, raw):
    path = patched(write_segy(tmp_path / "a.sgy", np.ones((20, 3))), byte, raw)
    patched(path, 3269, struct.pack(">I", 4_000_000_000))
    tracemalloc.start()
    with pytest.raises(FileError, match="truncated"):
        inspect(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_shared_files(shared):
    facts = {}
    for path in sorted((shared / "data").glob("*/*.sgy")):
        layout = inspect(path)
        facts[path.name] = (
            layout.traces,
            layout.samples,
            layout.interval,
            layout.format.code,
            layout.endian,
            layout.t0,
        )
    assert facts == {
        "npra_31_81_PR.sgy": (534, 1501, 4.0, 1, "big", 0.0),
        "F3_very_small.sgy": (121, 463, 4.0, 1, "big", 0.0),
        "f3_small.sgy": (414, 75, 4.0, 3, "big", 4.0),
        "f3-lsb.sgy": (414, 75, 4.0, 3, "little", 4.0),
        "multi-text.sgy": (1, 1, 4.0, 1, "big", 0.0),
    }
