"""Two surveys are told apart by samples, headers and size, and every number is the one that numpy gives."""

import json
import math

import numpy as np
import pytest

from aafast.cli import main
from aafast.errors import FileError, InputError
from aafast.survey import compare
from aafast.survey.compare import check_tolerance, compare_surveys

from .conftest import write_segy


@pytest.fixture
def data():
    return np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)


@pytest.fixture
def first(tmp_path, data):
    return write_segy(tmp_path / "a.sgy", data)


def test_equal_files_are_equal_in_all(first):
    found = compare_surveys(first, first)
    assert (found.largest, found.where, found.relative, found.rms, found.samples) == (0, None, 0, 0, 0)
    assert not (found.text_lines or found.binary_bytes or found.trace_bytes or found.headers or found.notes)
    assert found.is_within(0.0, headers=True) and "all equal" in found.summary()


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 22])
def test_differences_are_those_of_numpy_in_pieces_of_any_size(first, data, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(compare, "_CHUNK", chunk)
    other = data.copy()
    other[7, 3] += 2
    other[9, 10] -= 1
    found = compare_surveys(first, write_segy(tmp_path / "b.sgy", other))
    change = other.astype(float) - data
    assert found.where == (4, 8) and (found.samples, found.traces) == (2, 2)
    assert found.largest == np.abs(change).max() and found.relative == found.largest / np.abs(data).max()
    assert found.rms == pytest.approx(np.linalg.norm(change) / np.linalg.norm(data))
    assert found.is_within(found.relative) and not found.is_within(0.999 * found.relative)
    assert "2 differ, in 2 traces" in found.summary() and "trace 4, sample 8" in found.summary()


def test_formats_and_byte_orders_may_differ(first, data, tmp_path):
    found = compare_surveys(first, write_segy(tmp_path / "b.sgy", data, code=1, endian="little"))
    assert found.relative < 1e-6 and found.headers == 12 and len(found.notes) == 2


def test_headers_that_differ_are_named_by_line_and_byte(first, tmp_path):
    raw = bytearray(first.read_bytes())
    raw[165], raw[3200 + 77] = 7, 7
    for trace in (2, 5):
        place = 3600 + trace * 360 + 50
        raw[place:place + 2] = bytes(b ^ 1 for b in raw[place:place + 2])
    other = tmp_path / "b.sgy"
    other.write_bytes(bytes(raw))
    found = compare_surveys(first, other)
    assert (found.text_lines, found.binary_bytes, found.trace_bytes, found.headers) == ([3], [3278], [51, 52], 2)
    assert found.is_within(0.0) and not found.is_within(0.0, headers=True)
    assert "bytes 51-52 differ, in 2 traces" in found.summary() and "lines 3 differ" in found.summary()


def test_nan_beside_a_number_is_no_small_difference(first, data, tmp_path):
    other = data.copy()
    other[0, 0] = np.nan
    b = write_segy(tmp_path / "b.sgy", other)
    assert compare_surveys(first, b).largest == math.inf and not compare_surveys(first, b).is_within(1e9)
    assert compare_surveys(b, b).is_within(0.0)


def test_other_sizes_and_zeros(first, data, tmp_path):
    found = compare_surveys(first, write_segy(tmp_path / "b.sgy", data[:, :9]))
    assert not found.is_within(math.inf) and "30 samples x 12 traces, and 30 x 9" in found.summary()
    zeros = write_segy(tmp_path / "z.sgy", 0 * data)
    assert compare_surveys(zeros, zeros).rms == 0 and compare_surveys(zeros, first).relative == math.inf


def test_the_command_says_and_returns_it(first, data, tmp_path, capsys):
    other = str(write_segy(tmp_path / "b.sgy", 1.001 * data))
    assert main(["compare", str(first), str(first)]) == 0 and "all equal" in capsys.readouterr().out
    assert main(["compare", str(first), other]) == 1
    capsys.readouterr()
    assert main(["compare", str(first), other, "--tolerance", "0.0011", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agree"] and found["rms"] == pytest.approx(0.001, rel=1e-3) and found["shape_a"] == [30, 12]
    assert main(["compare", str(first), str(tmp_path / "none.sgy")]) == 2
    assert main(["compare", str(first), other, "--tolerance", "-1"]) == 2
    with pytest.raises(InputError, match="tolerance"):
        check_tolerance(float("nan"))
    with pytest.raises(FileError):
        compare_surveys(first, tmp_path)


@pytest.fixture
def cube(tmp_path):
    """A cube in shuffled order with traces missing, and what it was made of."""
    rng = np.random.default_rng(1)
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(9), np.arange(7), indexing="ij"))
    keep = rng.permutation(63)[:58]
    data = np.round(4 * rng.standard_normal((20, 58))).astype(np.float32)
    headers = {189: inline[keep] + 1, 193: crossline[keep] + 1}
    return write_segy(tmp_path / "cube.sgy", data, headers=headers, extended=1, t0=40), data, headers


@pytest.mark.parametrize("tile", [2, 64])
def test_stores_are_compared_on_either_side(cube, tmp_path, monkeypatch, tile):
    pytest.importorskip("zarr", reason="the extra mdio is not installed")
    from aafast.survey import mdio_tiles
    from aafast.survey.mdio import segy_to_mdio

    path, data, headers = cube
    monkeypatch.setattr(mdio_tiles, "TILE", tile)
    other = data.copy()
    other[7, 3] += 2
    other[7, 40] += 2
    other[9, 10] -= 1
    changed = write_segy(tmp_path / "b.sgy", other, headers=headers, extended=1, t0=40)
    raw = bytearray(changed.read_bytes())
    raw[200], raw[6800 + 5 * 320 + 49] = 7, 99
    changed.write_bytes(bytes(raw))
    want = compare_surveys(path, changed)
    assert want.where == (4, 8) and want.headers == 1 and want.text_lines == [3] and not want.notes
    stores = [tmp_path / "a.mdio", tmp_path / "b.mdio"]
    for file, store in zip((path, changed), stores, strict=True):
        segy_to_mdio(file, store)
    for pair in ((stores[0], changed), (path, stores[1]), stores):
        found = compare_surveys(*pair).as_dict()
        assert found.pop("rms") == pytest.approx(want.rms)
        assert found == {name: value for name, value in want.as_dict().items() if name != "rms"}
    monkeypatch.setattr(mdio_tiles, "TILE", 3)  # one with other tiles than the other
    segy_to_mdio(path, tmp_path / "c.mdio")
    assert compare_surveys(tmp_path / "c.mdio", stores[0]).is_within(0.0, headers=True)
    assert main(["compare", str(stores[0]), str(path), "--headers"]) == 0
    assert main(["compare", str(path), str(stores[1])]) == 1


def test_a_store_made_elsewhere_is_compared_by_its_samples(data, first, tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra mdio is not installed")
    group = zarr.create_group(str(tmp_path / "other.zarr"))
    amplitude = group.create_array("amplitude", shape=(12, 30), dtype="float32", dimension_names=("trace", "time"))
    amplitude[...] = data.T
    group.create_array("time", shape=(30,), dtype="float64", dimension_names=("time",))[...] = 2.0 * np.arange(30)
    found = compare_surveys(first, tmp_path / "other.zarr")
    assert found.samples == 0 and found.is_within(0.0) and not found.is_within(0.0, headers=True)
    assert any("sample interval" in note for note in found.notes)
