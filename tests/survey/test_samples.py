"""Samples in every format: values by definition, rounding to nearest, bytes that survive a round trip."""

import pickle
import struct
import threading

import numpy as np
import pytest

from aafast.errors import FileError, FormatError, InputError
from aafast.survey.layout import FORMATS, inspect
from aafast.survey.samples import decode, encode
from aafast.survey.segy import Survey
from aafast.survey.segy_output import SegyTarget
from aafast.survey.store import open_source, open_target

from .conftest import give, write_segy

IBM = FORMATS[1]


def ibm_value(word: int) -> float:
    """By the definition: sign, 16 to the exponent less 64, fraction of 24 bits."""
    return (-1) ** (word >> 31) * 16.0 ** ((word >> 24 & 127) - 64) * (word & 0xFFFFFF) / 2**24


def as_bytes(words, word=">"):
    return np.asarray(words, np.uint32).astype(word + "u4").view(np.uint8)[None]


@pytest.mark.parametrize("endian", ["big", "little"])
def test_ibm_floats_have_the_value_of_their_definition(endian):
    words = np.random.default_rng(0).integers(0, 1 << 32, 5000)
    found = decode(as_bytes(words, ">" if endian == "big" else "<"), IBM, endian)[0]
    with np.errstate(over="ignore"):
        expected = np.array([ibm_value(int(w)) for w in words]).astype(np.float32)
    assert np.array_equal(found, expected)


def test_floats_become_the_nearest_ibm_float():
    rng = np.random.default_rng(1)
    values = (rng.standard_normal(5000) * 10.0 ** rng.uniform(-37, 37, 5000)).astype(np.float32)
    values[:6] = 0, -0.0, 1, 3.4e38, -1e-45, 0.99999994
    words = encode(values[None], IBM, "big").view(">u4")[0].astype(np.int64)
    steps = [ibm_value((w & 0xFF000000) | 1) for w in words.tolist()]  # the spacing at this exponent
    found = np.array([ibm_value(w) for w in words.tolist()])
    assert (np.abs(found - values) <= np.abs(steps) / 2).all()
    assert (words[2:] & 0xF00000 > 0).all()  # normalised: no leading zero digit


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", sorted(FORMATS))
def test_what_float32_holds_survives_a_round_trip_byte_for_byte(code, endian):
    form = FORMATS[code]
    values = np.random.default_rng(2).integers(-126, 127, (7, 50)).astype(np.float32)
    raw = encode(values, form, endian)
    assert raw.shape == (7, 50 * form.size) and np.array_equal(decode(raw, form, endian), values)
    assert np.array_equal(encode(decode(raw, form, endian), form, endian), raw)


def test_integers_are_rounded_and_cut_never_wrapped():
    raw = encode(np.array([[1.4, 1.6, -200, 200, 2.5]], np.float32), FORMATS[8], "big")
    assert decode(raw, FORMATS[8], "big").tolist() == [[1, 2, -127, 127, 2]]


@pytest.mark.parametrize("code", [1, 2, 3, 8])
def test_nan_is_refused_where_a_format_has_none(code):
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match="NaN or Inf"):
            encode(np.array([[value]], np.float32), FORMATS[code], "big")


def test_shared_files_round_trip_byte_for_byte(shared, tmp_path):
    paths = sorted((shared / "data").glob("*/*.sgy"))
    assert len(paths) == 5
    for path in paths:
        with Survey(path) as survey:
            target = SegyTarget(survey.layout, tmp_path / path.name, tmp_path / "partial")
            target.prepare()
            for section in survey.geometry.sections:
                target.write(section.traces, *survey.read_whole(section.traces))
            target.commit()
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_source_and_a_target_travel_to_another_process(tmp_path):
    data = np.random.default_rng(0).standard_normal((20, 9)).astype(np.float32)
    path = write_segy(tmp_path / "a.sgy", data)
    with open_source(path) as source:
        target = open_target(source.layout, tmp_path / "b.sgy", tmp_path / "b.part")
        target.prepare()
        moved, there = pickle.loads(pickle.dumps((source, target)))
        assert np.array_equal(moved.read(np.arange(9)), data) and moved.identity() == source.identity()
        give(moved, there, [2, 7], -data[:, [2, 7]])
        there.sync()
        there.close()
        moved.close()
        target.commit()
    with Survey(tmp_path / "b.sgy") as survey:
        assert np.array_equal(survey.read(np.array([2, 7, 0])), np.stack([-data[:, 2], -data[:, 7], data[:, 0]], 1))


@pytest.mark.parametrize("code", [3, 5])
def test_a_target_goes_on_where_another_stopped_and_writing_twice_changes_nothing(tmp_path, code):
    data = np.round(100 * np.sin(np.arange(120.0).reshape(20, 6)))
    path = write_segy(tmp_path / "a.sgy", data, code=code)
    layout = inspect(path)
    rows = (500 * data).astype(np.float32)
    outputs = []
    for order in ([[0, 1], [4], [4, 0]], [[4], [0, 1]]):
        for traces in order:
            target = SegyTarget(layout, tmp_path / "b.sgy", tmp_path / "b.part")
            target.prepare()
            with Survey(path) as survey:
                target.write(np.array(traces), survey.read_whole(np.array(traces))[0], rows[:, traces])
                target.put(np.array([2, 3, 5]), survey.gather(np.array([2, 3, 5])))
            target.close()
        last = SegyTarget(layout, tmp_path / "b.sgy", tmp_path / "b.part")
        last.prepare()
        last.finish(["PARAMETERS"])
        notes = last.commit(["PARAMETERS"])  # a kill between the two leaves this to do again
        outputs.append((tmp_path / "b.sgy").read_bytes())
        assert (len(notes) == 1) == (code == 3)
    assert outputs[0] == outputs[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sgy", "b.sgy"]


def test_a_file_that_shrinks_or_grows_is_an_error(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 9)))
    with Survey(path) as survey:
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        with pytest.raises(FileError, match="traces 1 to 9.*ends at byte"):
            survey.read(np.arange(9))
        assert survey.read(np.arange(8)).shape == (20, 8)
        with pytest.raises(FileError, match="has changed"):
            pickle.loads(pickle.dumps(survey))
        target = SegyTarget(survey.layout, tmp_path / "b.sgy", tmp_path / "b.part")
        with pytest.raises(FileError, match="input's size changed"):
            target.prepare()
        target.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["a.sgy"]


def test_traces_that_are_not_there_are_refused(tmp_path):
    with Survey(write_segy(tmp_path / "a.sgy", np.ones((20, 9)))) as survey:
        for traces in ([9], [-1], [0, 1 << 40]):
            with pytest.raises(FileError, match="1 to 9"):
                survey.read(np.array(traces))
        assert survey.read(np.array([], int)).shape == (20, 0)


def test_threads_share_a_source(tmp_path):
    data = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    wrong = []
    with Survey(write_segy(tmp_path / "a.sgy", data)) as survey:
        def read(seed):
            rng = np.random.default_rng(seed)
            for _ in range(50):
                traces = rng.permutation(40)[:7]
                if not np.array_equal(survey.read(traces), data[:, traces]):
                    wrong.append(seed)

        threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_identity_tells_changed_samples_headers_and_sizes(tmp_path):
    data = np.random.default_rng(0).standard_normal((20, 9))

    def identity(**changes):
        with Survey(write_segy(tmp_path / "a.sgy", **{"data": data, **changes})) as survey:
            return survey.identity()

    same = identity()
    assert same == identity() and len(same) == 64
    assert len({same, identity(data=2 * data), identity(text={1: "OTHER"}), identity(data=data[:, :8])}) == 4


def patched(path, **places):
    raw = bytearray(path.read_bytes())
    for byte, value in places.items():
        raw[int(byte[1:]) - 1:int(byte[1:]) - 1 + len(value)] = value
    path.write_bytes(bytes(raw))
    return path


def test_junk_in_bytes_that_old_files_do_not_define_is_ignored(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    patched(path, b3501=b"\x40\x40", b3505=b"\x40\x40", b3269=b"\x40" * 4)
    layout = inspect(path)
    assert (layout.traces, layout.samples, layout.extended) == (3, 20, 0)


def test_revision_2_is_read_where_its_numbers_agree_and_refused_where_traces_differ(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)))
    patched(path, b3501=b"\x02\x00", b3221=bytes(2), b3269=struct.pack(">I", 20), b3273=struct.pack(">d", 4000.5))
    patched(path, b3529=struct.pack(">i", 1)).write_bytes(path.read_bytes() + bytes(3200))
    layout = inspect(path)
    assert (layout.traces, layout.samples, layout.interval, layout.tail) == (3, 20, 4.0005, 3200)
    with pytest.raises(FormatError, match="one header per trace"):
        inspect(patched(path, b3507=struct.pack(">i", 1)))


def test_a_trace_without_end_is_refused(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 1)))
    patched(path, b3501=b"\x02\x00", b3269=struct.pack(">I", 1 << 21))
    with open(path, "r+b") as handle:
        handle.truncate(3600 + 240 + (4 << 21))  # the claim fits the file, of which nothing is on the disk
    with pytest.raises(FormatError, match="samples per trace: got 2097152"):
        inspect(path)


def test_time_scalars_that_mean_nothing_are_ignored(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 3)), t0=12)
    assert inspect(patched(path, b3815=struct.pack(">h", -7))).t0 == 12.0
