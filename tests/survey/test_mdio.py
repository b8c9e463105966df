"""MDIO stores: there and back every byte stays; others' stores are read; nothing incomplete passes for whole."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aafast.cli import main
from aafast.errors import FileError, FormatError, InputError, MissingDependency
from aafast.survey import mdio, mdio_tiles
from aafast.survey.convert import convert
from aafast.survey.mdio import mdio_to_segy, open_store, segy_to_mdio
from aafast.survey.segy import Survey

from .conftest import quick, synthetic, wiener, write_segy

zarr = pytest.importorskip("zarr", reason="the extra mdio is not installed")


def cube_headers(lines=5, crosses=7, missing=()):
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(lines) + 3, 2 * np.arange(crosses), indexing="ij"))
    keep = np.setdiff1d(np.arange(inline.size), missing)
    return {189: inline[keep], 193: crossline[keep]}


def there_and_back(path, tmp_path):
    notes = segy_to_mdio(path, tmp_path / "a.mdio")
    mdio_to_segy(tmp_path / "a.mdio", tmp_path / "back.sgy")
    assert (tmp_path / "back.sgy").read_bytes() == path.read_bytes(), path.name
    return notes


@pytest.mark.parametrize("name", ["npra_31_81_PR", "F3_very_small", "f3_small", "f3-lsb", "multi-text"])
def test_shared_files_come_back_byte_for_byte(shared, tmp_path, name):
    assert there_and_back(next((shared / "data").glob(f"*/{name}.sgy")), tmp_path) == []


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 6, 8])
def test_every_format_and_order_of_traces_comes_back(tmp_path, monkeypatch, code, endian):
    monkeypatch.setattr(mdio_tiles, "TILE", 4)  # several tiles, the last ones cut
    rng = np.random.default_rng(0)
    headers = cube_headers(missing=[4, 11, 34])
    order = rng.permutation(headers[189].size)
    headers = {byte: values[order] for byte, values in headers.items()}
    data = np.round(np.clip(50 * rng.standard_normal((20, order.size)), -120, 120))
    path = write_segy(tmp_path / "a.sgy", data, code=code, endian=endian, headers=headers, extended=1, t0=-40)
    assert there_and_back(path, tmp_path) == []
    group = zarr.open_group(str(tmp_path / "a.mdio"), mode="r")
    assert group["amplitude"].shape == (5, 7, 20) and group["trace_mask"][...].sum() == 32
    k = int(np.flatnonzero((headers[189] == 4) & (headers[193] == 6))[0])
    assert np.array_equal(group["amplitude"][1, 3], data[:, k].astype(np.float32))
    assert group["inline"][...].tolist() == [3, 4, 5, 6, 7] and group["time"][0] == -40  # with the delay
    assert np.isnan(group["amplitude"][0, 4]).all() and group["trace_number"][0, 4] == -1


@pytest.mark.parametrize(
    "code, words, count",
    [
        (1, [0x00000001, 0x80000000, 0x7FFFFFFF, 0x42000001], 3),  # only the second has one form
        (2, [2**25 + 1, 2**25 + 3], 2),
        (5, [0x7FC00001, 0x7F800000], 0),
    ],
)
def test_samples_that_floats_do_not_hold_come_back_as_bytes(tmp_path, code, words, count):
    data = np.round(100 * np.random.default_rng(0).standard_normal((20, 12)))
    path = write_segy(tmp_path / "a.sgy", data, code=code)
    raw = bytearray(path.read_bytes())
    for k, word in enumerate(words):
        place = 3600 + 320 * (2 * k + 1) + 240 + 8
        raw[place:place + 4] = word.to_bytes(4, "big")
    path.write_bytes(bytes(raw))
    notes = there_and_back(path, tmp_path)
    assert (f"{count} traces" in notes[0]) if count else notes == []
    group = zarr.open_group(str(tmp_path / "a.mdio"), mode="r+")
    group["amplitude"][1, :] = 7.0  # an edit is not undone by the bytes kept beside it
    (tmp_path / "back.sgy").unlink()
    mdio_to_segy(tmp_path / "a.mdio", tmp_path / "back.sgy")
    with Survey(tmp_path / "back.sgy") as survey:
        assert (survey.read(np.array([1])) == 7).all()


def test_lines_and_scattered_grids_are_stored_trace_by_trace(tmp_path):
    data = np.ones((20, 40)) * np.arange(40)
    numbers = np.random.default_rng(0).permutation(1000)[:40]
    for headers in (None, {189: np.repeat(np.arange(5) * 3, 8), 193: numbers}):
        there_and_back(write_segy(tmp_path / "a.sgy", data, headers=headers), tmp_path)
        assert open_store(tmp_path / "a.mdio").places.shape == (40,)
        (tmp_path / "back.sgy").unlink()
        shutil.rmtree(tmp_path / "a.mdio")


def test_a_store_at_a_url(tmp_path):
    pytest.importorskip("fsspec")
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    segy_to_mdio(path, "memory://bucket/a.mdio")
    mdio_to_segy("memory://bucket/a.mdio", tmp_path / "b.sgy")
    assert (tmp_path / "b.sgy").read_bytes() == path.read_bytes()
    with pytest.raises(FormatError, match="a new store"):
        segy_to_mdio(path, "memory://bucket/a.mdio")


def test_what_stops_half_way_leaves_nothing_and_is_not_taken_for_whole(tmp_path, monkeypatch):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    segy_to_mdio(path, tmp_path / "a.mdio")
    group = zarr.open_group(str(tmp_path / "a.mdio"), mode="r+")
    mark = group.attrs.pop("aafast_segy")
    assert mark["traces"] == 12
    with pytest.raises(FormatError, match="mark of completeness"):
        mdio_to_segy(tmp_path / "a.mdio", tmp_path / "b.sgy")

    def broken(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mdio, "_write_tile", broken)
    with pytest.raises(FileError, match="No space left"):
        segy_to_mdio(path, tmp_path / "b.mdio")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mdio", "a.sgy"]


SLOWLY = """
import sys
from aafast.survey import mdio
write = mdio._write_tile
def waiting(*arguments):
    print("tile", flush=True)
    sys.stdin.readline()
    return write(*arguments)
mdio._write_tile = waiting
mdio.segy_to_mdio(*sys.argv[1:])
"""


def start_slowly(path, target):
    """A conversion in a process of its own, that waits for a line in the middle of it."""
    root = str(Path(mdio.__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, path, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == b"tile\n", process.communicate()
    return process


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_what_a_killed_conversion_left_is_removed_by_the_next_and_what_another_makes_is_not(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 30)))
    killed, target = start_slowly(path, tmp_path / "b.mdio"), tmp_path / "b.mdio"
    (hidden,) = tmp_path.glob(".b.mdio.*.part")
    assert (hidden / "zarr.json").exists()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and hidden.exists() and not target.exists()
    other = start_slowly(path, target)  # it is at work: its folder has an owner, and the first one's has none
    (left,) = tmp_path.glob(".b.mdio.*.part")
    assert left != hidden
    segy_to_mdio(path, tmp_path / "c.mdio")  # another name: nothing of this one's business
    assert left.exists()
    _, errors = other.communicate(b"\n")
    assert other.returncode == 0, errors
    assert names_in(tmp_path) == ["a.sgy", "b.mdio", "c.mdio"]
    mdio_to_segy(target, tmp_path / "back.sgy")
    assert (tmp_path / "back.sgy").read_bytes() == path.read_bytes()


def test_two_conversions_to_one_name_do_not_take_each_other_s_folder(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 30)))
    other = start_slowly(path, tmp_path / "b.mdio")
    segy_to_mdio(path, tmp_path / "b.mdio")
    _, errors = other.communicate(b"\n")
    assert other.returncode != 0 and b"b.mdio" in errors and names_in(tmp_path) == ["a.sgy", "b.mdio"]


def test_names_that_cannot_be_used(tmp_path, monkeypatch):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    segy_to_mdio(path, tmp_path / "a.mdio")
    for target, words in ((tmp_path / "a.mdio", "a new name"), (tmp_path / "none" / "b.mdio", "existing folder")):
        with pytest.raises(FileError, match=words):
            segy_to_mdio(path, target)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="an MDIO store"):
        mdio_to_segy(tmp_path / "empty", tmp_path / "b.sgy")
    zarr.create_group(str(tmp_path / "other.zarr")).create_array("velocity", shape=(3,), dtype="f4")
    with pytest.raises(FormatError, match="velocity"):
        mdio_to_segy(tmp_path / "other.zarr", tmp_path / "b.sgy")
    with pytest.raises(InputError, match="two SEG-Y files"):
        convert(path, tmp_path / "b.sgy")
    with pytest.raises(InputError, match="two MDIO stores"):
        convert(tmp_path / "a.mdio", "memory://b")
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(MissingDependency, match=r"aafast\[mdio\]"):
        convert(path, tmp_path / "b.mdio")


def test_a_store_made_elsewhere_gets_headers(tmp_path):
    rng = np.random.default_rng(0)
    group = zarr.create_group(str(tmp_path / "o.mdio"), attributes={"attributes": {"defaultVariableName": "seismic"}})
    amplitude = rng.standard_normal((4, 6, 30)).astype(np.float32)
    names = ("inline", "crossline", "time")
    values = {"inline": np.arange(4) + 10, "crossline": np.arange(6) + 20, "time": 100 + 2.0 * np.arange(30)}
    group.create_array("seismic", data=amplitude, dimension_names=names)
    for name in names:
        group.create_array(name, data=values[name], dimension_names=(name,))
    mask = np.ones((4, 6), bool)
    mask[2, 3] = False
    group.create_array("trace_mask", data=mask, dimension_names=names[:2])
    group.create_array("cdp_x", data=np.arange(24.0).reshape(4, 6) + 0.25, dimension_names=names[:2])
    assert "new headers" in mdio_to_segy(tmp_path / "o.mdio", tmp_path / "o.sgy")[0]
    with Survey(tmp_path / "o.sgy") as survey:
        assert (survey.geometry.kind, survey.layout.t0, survey.layout.interval) == ("3D", 100.0, 2.0)
        assert np.array_equal(survey.read(np.arange(23)).T, amplitude[mask])
        inline, crossline, x = survey.headers((189, 193, 181))
    assert np.array_equal(inline, np.broadcast_to(values["inline"][:, None], (4, 6))[mask])
    assert np.array_equal(crossline, np.broadcast_to(values["crossline"], (4, 6))[mask])
    assert np.array_equal(x, 100 * group["cdp_x"][...][mask])


def test_the_command(tmp_path, capsys):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    assert main(["convert", str(path), str(tmp_path / "a.mdio")]) == 0
    assert main(["convert", str(tmp_path / "a.mdio"), str(tmp_path / "b.sgy")]) == 0
    assert main(["compare", str(path), str(tmp_path / "b.sgy"), "--headers"]) == 0
    assert main(["convert", str(path), str(tmp_path / "c.sgy")]) == 2
    assert "expected one MDIO store" in capsys.readouterr().err


@pytest.fixture
def surveys(tmp_path):
    """A cube as SEG-Y and as MDIO, and what a run gives of it."""
    data = np.concatenate([synthetic(96, 12, seed=k) for k in range(4)], 1)
    path = write_segy(tmp_path / "a.sgy", data, headers=cube_headers(4, 12))
    segy_to_mdio(path, tmp_path / "a.mdio")
    quick(path, tmp_path / "expected.sgy", misfit=tmp_path / "misfit.sgy")
    return path, tmp_path / "a.mdio", (tmp_path / "expected.sgy").read_bytes()


def test_a_run_from_store_to_store_gives_what_one_of_segy_gives(surveys, tmp_path):
    _, store, expected = surveys
    result = quick(store, tmp_path / "b.mdio", misfit=tmp_path / "m.mdio")
    assert result.output == tmp_path / "b.mdio" and not (tmp_path / "b.mdio.aafast-store").exists()
    for name, bytes_ in (("b", expected), ("m", (tmp_path / "misfit.sgy").read_bytes())):
        mdio_to_segy(tmp_path / f"{name}.mdio", tmp_path / "back.sgy")
        assert (tmp_path / "back.sgy").read_bytes() == bytes_


@pytest.mark.parametrize("output, misfit", [("b.mdio", None), ("b.sgy", "m.mdio")])
def test_killed_while_its_result_becomes_a_store_a_run_solves_nothing_again(
    surveys, tmp_path, monkeypatch, output, misfit
):
    from aafast.survey import stores

    _, store, expected = surveys
    options = {} if misfit is None else {"misfit": tmp_path / misfit}
    convert, calls = stores.segy_to_mdio, []

    def killed(*arguments):
        raise KeyboardInterrupt

    def counted(y, A0):
        calls.append(len(y))
        return wiener(y, A0)

    monkeypatch.setattr(stores, "segy_to_mdio", killed)
    with pytest.raises(KeyboardInterrupt):
        quick(store, tmp_path / output, solve=counted, **options)
    monkeypatch.setattr(stores, "segy_to_mdio", convert)
    assert calls
    calls.clear()
    result = quick(store, tmp_path / output, solve=counted, **options)
    assert not calls and result.resumed == result.blocks and not list(tmp_path.glob("*aafast*"))
    assert result.output == tmp_path / output
    if output.endswith(".mdio"):
        mdio_to_segy(tmp_path / output, tmp_path / "back.sgy")
    else:
        assert (tmp_path / "m.mdio").is_dir()
        (tmp_path / output).rename(tmp_path / "back.sgy")
    assert (tmp_path / "back.sgy").read_bytes() == expected


def test_a_run_from_segy_to_a_url_and_back(surveys, tmp_path, monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    path, _, expected = surveys
    result = quick(path, "memory://results/b.mdio")
    assert result.output == "memory://results/b.mdio"
    mdio_to_segy("memory://results/b.mdio", tmp_path / "back.sgy")
    assert (tmp_path / "back.sgy").read_bytes() == expected
    quick("memory://results/b.mdio", tmp_path / "c.sgy")
    assert not list(tmp_path.glob("*aafast*"))


def test_a_store_s_run_that_stops_goes_on_and_one_that_cannot_begin_leaves_nothing(surveys, tmp_path):
    _, store, expected = surveys
    calls = []

    def failing(y, A0):
        calls.append(len(y))
        if len(calls) == 3:
            raise RuntimeError("solver broke")
        return wiener(y, A0)

    with pytest.raises(RuntimeError, match="broke"):
        quick(store, tmp_path / "b.mdio", solve=failing)
    assert (tmp_path / "b.mdio.aafast-store").exists() and not (tmp_path / "b.mdio").exists()
    calls[:] = range(3)
    result = quick(store, tmp_path / "b.mdio", solve=failing)
    mdio_to_segy(tmp_path / "b.mdio", tmp_path / "back.sgy")
    assert (tmp_path / "back.sgy").read_bytes() == expected and result.resumed > 0
    with pytest.raises(FileError, match="a new name"):
        quick(store, tmp_path / "b.mdio")
    with pytest.raises(InputError, match="wavelet"):
        quick(store, tmp_path / "c.mdio", wavelet="ricker:1")
    assert not list(tmp_path.glob("*aafast*"))


CLAIMS = [
    ("aafast_segy", "format", 99, "KeyError"),
    ("aafast_segy", "format", 3, "contradict each other"),
    ("aafast_segy", "endian", "middle", "contradict each other"),
    ("aafast_segy", "traces", 11, "contradict each other"),
    ("aafast_segy", "traces", "many", "contradict each other"),
    ("aafast_segy", "samples", 2**40, "contradict each other|expected"),
    ("aafast_segy", "interval", None, "contradict each other"),
    ("aafast_segy", "head", "AAAA", "contradict each other"),
    ("aafast_segy", "head", "no base64!", "Error"),
    ("aafast_segy", "tail", 7, "Error"),
    ("attributes", "defaultVariableName", ["x"], "incomplete or no post-stack survey"),
    ("attributes", "defaultVariableName", "trace_number", "incomplete or no post-stack survey"),
]


@pytest.mark.parametrize("name, key, value, words", CLAIMS)
def test_a_mark_that_the_arrays_do_not_bear_out_is_refused(tmp_path, name, key, value, words):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    segy_to_mdio(path, tmp_path / "a.mdio")
    group = zarr.open_group(str(tmp_path / "a.mdio"), mode="r+")
    group.attrs[name] = {**group.attrs[name], key: value}
    with pytest.raises((FormatError, FileError), match=words):
        mdio_to_segy(tmp_path / "a.mdio", tmp_path / "b.sgy")
    assert not (tmp_path / "b.sgy").exists()


def test_numbers_that_name_a_trace_twice_are_refused(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.ones((20, 12)))
    segy_to_mdio(path, tmp_path / "a.mdio")
    group = zarr.open_group(str(tmp_path / "a.mdio"), mode="r+")
    for numbers in ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12], [-1] * 12):
        group["trace_number"][...] = np.array(numbers)
        with pytest.raises(FormatError, match="contradict each other|no trace"):
            open_store(tmp_path / "a.mdio")


@pytest.mark.parametrize("shape, words", [
    ((2**31, 2**31, 20), "cells in [0-9]+ bytes"),
    ((2**20, 20), "cells in [0-9]+ bytes"),
    ((12, 2**30), "traces of 1073741824 samples"),
    ((0, 20), "0 traces"),
])  # fmt: skip
def test_a_grid_that_nothing_bears_out_is_refused_before_it_is_held(tmp_path, shape, words):
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("amplitude", shape=shape, chunks=tuple(min(n, 64) or 1 for n in shape), dtype="float32",
                       fill_value=0, dimension_names=(*"xy"[: len(shape) - 1], "time"))  # fmt: skip
    with pytest.raises(FormatError, match=words):
        open_store(tmp_path / "a.zarr")


def test_damaged_chunks_are_named(tmp_path):
    path = write_segy(tmp_path / "a.sgy", np.random.default_rng(0).standard_normal((20, 12)))
    segy_to_mdio(path, tmp_path / "a.mdio")
    chunk = next(p for p in (tmp_path / "a.mdio" / "amplitude").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(FormatError, match="a.mdio.*a whole MDIO store"):
        mdio_to_segy(tmp_path / "a.mdio", tmp_path / "b.sgy")
    assert not (tmp_path / "b.sgy").exists()


def test_tiles_of_long_traces_are_small_and_cover_the_grid(tmp_path):
    for shape, samples in (((130, 70), 1000), ((130, 70), 10**6), ((1100,), 50), ((1100,), 2**20)):
        covered = np.zeros(shape, int)
        for tile in mdio_tiles.tiles(shape, samples):
            covered[tile] += 1
            assert covered[tile].size * samples <= 2**24 or covered[tile].size == 1
        assert (covered == 1).all()
