"""Killed, failed or refused, a run leaves what is done, and the same call goes on from there to the same bytes."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import survey_solvers

from aafast.errors import FileError, InputError
from aafast.survey.job import Job, count_done, job_folder, open_job
from aafast.survey.ledger import Ledger

from .conftest import quick, synthetic, write_segy

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"patch": (64, 16), "overlap": (16, 4), "halo": (4, 1)}


@pytest.fixture
def cube(tmp_path):
    """A cube of 6 inlines of 50 traces, some of them dead."""
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(6), np.arange(50), indexing="ij"))
    data = np.concatenate([synthetic(100, 50, seed=k) for k in range(6)], 1)
    data[:, [3, 120, 121, 199]] = 0
    return write_segy(tmp_path / "in.sgy", data, headers={189: inline + 1, 193: crossline + 1})


def solve_in(cube, out, **options):
    return quick(cube, out, **{"solve": survey_solvers.smoothed, **SIZES, **options})


def failing_after(calls):
    """`smoothed`, which fails after so many calls; by name it is the same solver."""
    left = [calls]

    def smoothed(y, A0):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("power cut")
        return survey_solvers.smoothed(y, A0)

    smoothed.__module__, smoothed.__qualname__ = "survey_solvers", "smoothed"
    smoothed.left = left
    return smoothed


def begin(cube, out, calls=6, **options):
    """A run that fails on its way; returns the number of blocks that it left."""
    with pytest.raises(RuntimeError, match="power cut"):
        solve_in(cube, out, solve=failing_after(calls), batch=6, **options)
    return len(list(job_folder(out).glob("block-*.npz")))


def wait_for_a_block(out):
    """What waits to be written when a run fails is dropped; what is done is kept."""
    end = time.monotonic() + 60
    while not count_done(out) and time.monotonic() < end:
        time.sleep(0.001)


def records(out):
    """What the ledger says, before it is opened again."""
    lines = (job_folder(out) / "ledger").read_bytes().splitlines()
    return [json.loads(line.split(b" ", 1)[1]) for line in lines]


def test_a_failed_run_goes_on_and_solves_nothing_twice(cube, tmp_path):
    whole, out = solve_in(cube, tmp_path / "whole.sgy"), tmp_path / "out.sgy"
    assert begin(cube, out) > 0 and not out.exists()
    before = [r["done"] for r in records(out) if "done" in r]
    again = failing_after(10**6)
    result = solve_in(cube, out, solve=again, batch=6)
    assert out.read_bytes() == whole.output.read_bytes() and not job_folder(out).exists()
    assert result.resumed == len(before) > 0 and result.blocks == 6
    assert 10**6 - again.left[0] == sum(-(-8 // 6) for _ in range(6 - len(before)))  # 8 patches an inline
    assert result.misfit == whole.misfit and np.array_equal(result.wavelets, whole.wavelets)
    assert f"resumed    {len(before)} of 6 blocks" in result.summary()


@pytest.mark.parametrize("change, words", [
    (lambda cube: {"wavelet": "ricker:30"}, "other wavelet"),
    (lambda cube: {"patch": (64, 24)}, "other patch"),
    (lambda cube: {"solve": survey_solvers.slow}, "other model"),
    (lambda cube: {"skip_bad": True}, "other traces with NaN"),
    (lambda cube: os.utime(cube, (1, 1)) or {}, "time of the input's last change"),
    (lambda cube: write_segy(cube, synthetic(100, 300)) and {}, "contents of the input"),
    (lambda cube: {"keep_text_header": True}, "other text header"),
])  # fmt: skip
def test_what_has_changed_is_refused_until_a_restart(cube, tmp_path, change, words):
    out = tmp_path / "out.sgy"
    left = begin(cube, out)
    changed = change(cube)
    with pytest.raises(InputError, match=f"{words}.*--restart"):
        solve_in(cube, out, **changed)
    assert len(list(job_folder(out).glob("block-*.npz"))) == left
    result = solve_in(cube, out, restart=True, **changed)
    assert result.resumed == 0 and not job_folder(out).exists()


def test_memory_batch_and_workers_may_change_on_the_way(cube, tmp_path):
    whole, out = solve_in(cube, tmp_path / "whole.sgy"), tmp_path / "out.sgy"
    left = begin(cube, out)
    assert solve_in(cube, out, batch=1, memory="3GB").resumed == left
    assert out.read_bytes() == whole.output.read_bytes()


def test_an_input_that_shrinks_or_changes_is_noticed(cube, tmp_path):
    out, before, status = tmp_path / "out.sgy", cube.read_bytes(), cube.stat()
    whole = solve_in(cube, tmp_path / "whole.sgy").output.read_bytes()
    solved = failing_after(10**6)

    def shrink(y, A0):
        if solved.left[0] < 10**6:  # the first block is being written, the last ones have not been read
            wait_for_a_block(out)
            cube.write_bytes(before[:-5000])
        return solved(y, A0)

    shrink.__module__, shrink.__qualname__ = "survey_solvers", "smoothed"
    with pytest.raises(FileError, match="in.sgy"):
        solve_in(cube, out, solve=shrink)
    assert not out.exists() and job_folder(out).exists()
    # A sample of a trace that the identity does not look at, and the old time of change: found when it is read.
    place = 3600 + 297 * (240 + 400) + 240 + 20
    cube.write_bytes(before[:place] + b"\x3f\x80\x00\x00" + before[place + 4 :])
    os.utime(cube, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(FileError, match="other samples in trace 298"):
        solve_in(cube, out)
    place = 3600 + 297 * (240 + 400) + 60  # and a byte of its header, which goes into the output
    cube.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
    os.utime(cube, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(FileError, match="other bytes of the header in trace 298"):
        solve_in(cube, out)
    cube.write_bytes(before)
    os.utime(cube, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert solve_in(cube, out).resumed > 0 and out.read_bytes() == whole


def test_a_disk_that_fills_leaves_the_ledger_whole(cube, tmp_path, monkeypatch):
    out, real = tmp_path / "out.sgy", os.pwrite
    whole = solve_in(cube, tmp_path / "whole.sgy").output.read_bytes()
    for room in (9, 7):  # each block is written in few pieces, and the ledger in one a record
        left = [room]

        def pwrite(handle, data, place, left=left):
            left[0] -= 1
            if left[0] < 0:
                real(handle, bytes(data)[:7], place)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(handle, data, place)

        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(FileError, match="No space left"):
            solve_in(cube, out)
        monkeypatch.setattr(os, "pwrite", real)
    assert solve_in(cube, out).resumed > 0 and out.read_bytes() == whole


def test_a_run_killed_while_it_gives_the_output_its_name_is_complete(cube, tmp_path, monkeypatch):
    out = tmp_path / "out.sgy"
    whole = solve_in(cube, tmp_path / "whole.sgy").output.read_bytes()
    add = Ledger.add

    def cut(self, sync=True, **record):
        if "committed output" in record:
            raise KeyboardInterrupt
        add(self, sync, **record)

    monkeypatch.setattr(Ledger, "add", cut)
    with pytest.raises(KeyboardInterrupt):
        solve_in(cube, out)
    monkeypatch.setattr(Ledger, "add", add)
    assert out.read_bytes() == whole and job_folder(out).exists()
    assert solve_in(cube, out).resumed == 6 and out.read_bytes() == whole and not job_folder(out).exists()


def test_two_runs_of_one_output_are_refused(cube, tmp_path):
    out = tmp_path / "out.sgy"
    begin(cube, out)
    with open_job(out, json.loads((job_folder(out) / "job.json").read_text())["begun with"]):
        with pytest.raises(FileError, match="another run"):
            solve_in(cube, out)
    (job_folder(tmp_path / "other.sgy")).mkdir()
    with pytest.raises(FileError, match="no run has made"):
        solve_in(cube, tmp_path / "other.sgy")


def test_a_ledger_drops_a_torn_end_and_refuses_damage_before_it(tmp_path):
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    for k in range(3):
        ledger.add(done=k)
    ledger.close()
    raw = path.read_bytes()
    for torn in (raw[:-1], raw + b"1234", raw[:-20], raw + b"00000000 {}\n"):
        path.write_bytes(torn)
        ledger = Ledger(path)
        known = [r["done"] for r in ledger.records]
        assert known == list(range(len(known))) and len(known) >= 2
        ledger.add(done=len(known))
        ledger.close()
        ledger = Ledger(path)
        assert [r["done"] for r in ledger.records] == list(range(len(known) + 1))
        ledger.close()
    path.write_bytes(raw[:3] + b"x" + raw[4:])
    with pytest.raises(FileError, match="damage in record 1"):
        Ledger(path)


def test_pieces_that_went_missing_are_made_again(cube, tmp_path):
    out = tmp_path / "out.sgy"
    whole = solve_in(cube, tmp_path / "whole.sgy").output.read_bytes()
    begin(cube, out, calls=8)
    pieces = sorted(job_folder(out).glob("block-*.npz"))
    pieces[0].unlink()
    assert solve_in(cube, out).resumed == len(pieces) - 1 and out.read_bytes() == whole
    begin(cube, out)
    (job_folder(out) / "output.sgy").unlink()
    with pytest.raises(FileError, match="no output.sgy in it.*--restart"):
        solve_in(cube, out)


CHILD = """
import sys
sys.path[:0] = {paths!r}
import survey_solvers
from aafast.survey import run
run({source!r}, {out!r}, wavelet="ricker:25", solve=survey_solvers.slow, progress=False, workers={workers},
    patch=(64, 16), overlap=(16, 4), halo=(4, 1), batch=2)
"""


def start(source, out, workers):
    paths = [str(ROOT), str(ROOT / "tests" / "support")]
    code = CHILD.format(paths=paths, source=str(source), out=str(out), workers=workers)
    environment = {**os.environ, "SLOW_SOLVER": "0.03"}
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("workers, kills", [(1, 1), (2, 1)])
def test_killed_at_random_it_ends_with_the_same_bytes_and_little_done_twice(cube, tmp_path, workers, kills):
    out, begun, done = tmp_path / "out.sgy", Counter(), []
    whole = solve_in(cube, tmp_path / "whole.sgy", solve=survey_solvers.slow, batch=6).output.read_bytes()
    rng = random.Random(1)
    for _ in range(kills):
        process = start(cube, out, workers)
        seen, until = len(done), time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            ledger = job_folder(out) / "ledger"
            if ledger.exists() and ledger.read_bytes().count(b'"done"') > seen:
                break
            time.sleep(0.01)
        time.sleep(rng.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not job_folder(out).exists():
            break
        done = [r["done"] for r in records(out) if "done" in r]
        begun = Counter(r["begun"] for r in records(out) if "begun" in r)
    assert len(done) == len(set(done)) > 0, "no block that was entered is done again"
    again = sum(begun.values()) - len(begun)
    assert again <= kills * workers, "only what was in flight is solved again"
    process = start(cube, out, workers)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.read_bytes() == whole and not job_folder(out).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.sgy", "out.sgy", "whole.sgy"]


def test_a_job_is_no_folder_of_somebody_else(tmp_path):
    job = open_job(tmp_path / "a.sgy", {"x": "1"})
    assert isinstance(job, Job) and not job.resumed
    (job.folder / "block-0000000.npz").write_bytes(b"")
    job.close()
    assert open_job(tmp_path / "a.sgy", {"x": "1"}).resumed
