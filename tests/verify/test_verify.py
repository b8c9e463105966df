"""Verification: the product's rows, a gate that NaN does not pass, and folders that are not what they should be."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from aafast import verify as package
from aafast.errors import BackendError, FileError, FormatError
from aafast.reference import golden
from aafast.verify import Row, oracle, product, run_reference, verify
from aafast.verify.files import golden_files, read
from aafast.verify.rows import row

CHECKS = {
    "anderson": {"anderson [eager]"},
    "deblur_robust_lu": {"physics", "proximal network"},
    "robust_lu": {"physics", "robust LU"},
    "adaptive_lu": {"physics", "z-step [eager]", "theta-step", "x-step"},
    "adaptive_deq": {"physics", "z-step [eager]", "x-step"},
}


@pytest.fixture
def folder(shared, tmp_path):
    """A golden folder whose files may be replaced."""
    for path in (shared / "golden").iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("name", golden.NAMES)
def test_product_agrees_with_golden_file(name, shared):
    path = shared / "golden" / f"{name}.npz"
    rows = product.check(name, path, read(name, path), product.place("eager"))
    assert {found.check for found in rows} == next(CHECKS[key] for key in CHECKS if key in name)
    assert [found for found in rows if not found.ok] == []
    assert all(found.file == path.name and found.tolerance == 1e-9 for found in rows)


def test_backend_by_default_is_the_best_or_what_the_environment_asks_for(monkeypatch):
    monkeypatch.delenv(product.VARIABLE, raising=False)
    best = product.place(None)
    assert product.place("auto") == best
    assert best.backend == product.PREFERENCE[best.device.type][0] or best.backend in ("triton", "eager")
    monkeypatch.setenv(product.VARIABLE, "eager")
    assert product.place(None) == (torch.device("cpu"), "eager")


def test_backend_is_the_one_asked_for(shared, monkeypatch):
    ran = []
    run = product.ops.anderson_mix.__globals__["_IMPLEMENTATIONS"]
    monkeypatch.setitem(run, "eager", lambda *a, run=run["eager"]: ran.append("eager") or run(*a))
    path = shared / "golden" / "anderson_1.npz"
    rows = product.check("anderson_1", path, read("anderson_1", path), product.place("eager"))
    assert ran and rows[0].ok and rows[0].check == "anderson [eager]"


def test_a_wrong_step_size_is_seen(shared, monkeypatch):
    monkeypatch.setattr("aafast.adaptive.z_solvers.ops.z_step",
                        lambda z, g, lr, wd, eps, backend: z * (1 - lr * wd) - lr * 1.00001 * g / (g.abs() + eps))
    path = shared / "golden" / "deblur_adaptive_lu.npz"
    rows = product.check("deblur_adaptive_lu", path, read("deblur_adaptive_lu", path), product.place(None))
    assert {found.check for found in rows if not found.ok} == {f"z-step [{product.place(None).backend}]"}


def test_a_wrong_reference_is_seen(shared):
    path = shared / "golden" / "defog_robust_lu.npz"
    arrays = read("defog_robust_lu", path)
    assert oracle.check("defog_robust_lu", path, arrays).ok
    arrays["xs"][3, 0, 0, 0, 0] += 1e-6
    assert not oracle.check("defog_robust_lu", path, arrays).ok


@pytest.mark.parametrize(
    ("errors", "ok"), [([0.0, 1e-9], True), ([2e-9], False), ([1e-12, float("nan")], False), ([], False),
                       ([float("nan"), 1.0], False), ([float("inf")], False)],
)
def test_gate(errors, ok):
    assert row("file", "check", errors).ok is ok


def test_rows_of_a_folder_come_file_by_file(shared, monkeypatch):
    monkeypatch.setattr(oracle, "check", lambda name, path, arrays: Row(path.name, "reference", 0.0, 1e-9, True))
    monkeypatch.setattr(
        product, "check", lambda name, path, arrays, place: [Row(path.name, place.backend, 0.0, 1e-9, True)]
    )
    expected = [f"{name}.npz" for name in golden.NAMES]
    assert [found.file for found in run_reference(shared / "golden")] == expected
    rows = verify(str(shared / "golden"), backend="eager")
    assert [found.file for found in rows if found.check == "reference"] == expected
    assert [found.file for found in rows if found.check == "eager"] == expected


def test_missing_folder(tmp_path):
    with pytest.raises(FileError, match="nothing there"):
        verify(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileError, match="a file; expected a folder"):
        verify(file)


def test_missing_files_are_named(folder):
    (folder / "anderson_1.npz").unlink()
    with pytest.raises(FileError, match=r"no anderson_1\.npz; expected 12"):
        run_reference(folder)


def test_unknown_files_are_named_and_other_types_left_alone(folder):
    (folder / "notes.txt").touch()
    assert len(golden_files(folder)) == 12
    (folder / "deblur_other.npz").touch()
    with pytest.raises(FormatError, match=r"unknown deblur_other\.npz"):
        run_reference(folder)


@pytest.mark.parametrize("keep", [0, 10, 20000])
def test_truncated_file(folder, keep):
    path = folder / "anderson_0.npz"
    replace(path, path.read_bytes()[:keep])
    with pytest.raises(FileError, match="anderson_0.*damaged"):
        run_reference(folder)


def test_damaged_file(folder):
    path = folder / "anderson_0.npz"
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    replace(path, bytes(content))
    with pytest.raises(FileError, match="anderson_0.*damaged"):
        run_reference(folder)


def test_pickles_stay_closed(folder):
    path = folder / "anderson_0.npz"
    arrays = dict(np.load(path, allow_pickle=False))

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path.unlink()
    np.savez(path, **{**arrays, "x": np.array([Bomb()], dtype=object)})
    with pytest.raises(FormatError, match="anderson_0.*allow_pickle"):
        run_reference(folder)
    replace(path, pickle.dumps(Bomb()))
    with pytest.raises(FileError, match="anderson_0.*no archive"):
        run_reference(folder)


def test_archive_of_other_things(folder):
    path = folder / "anderson_0.npz"
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(FormatError, match="anderson_0.*letter.txt is no array"):
        run_reference(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match="anderson_0.*directory"):
        run_reference(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"c": None}, "no array c"), ({"M": np.zeros((3, 4, 4))}, "do not fit together"),
     ({"x": np.zeros((3, 40), dtype="U3")}, "contents refused")],
)
def test_missing_or_unfit_arrays(folder, change, message):
    path = folder / "anderson_0.npz"
    arrays = {**np.load(path, allow_pickle=False), **change}
    path.unlink()
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(FormatError, match=message):
        run_reference(folder)


def test_unfit_weights(folder):
    path = folder / "deblur_robust_lu.npz"
    arrays = dict(np.load(path, allow_pickle=False))
    arrays["net.prox.0.weight"] = arrays["net.prox.0.weight"][:, :2]
    path.unlink()
    np.savez(path, **arrays)
    with pytest.raises(FormatError, match="deblur_robust_lu.*do not fit together.*prox.0.weight"):
        oracle.check("deblur_robust_lu", path, read("deblur_robust_lu", path))
    with pytest.raises(FormatError, match="do not fit together"):
        product.check("deblur_robust_lu", path, read("deblur_robust_lu", path), product.place(None))


def test_unknown_backend_is_refused_before_any_work(tmp_path):
    with pytest.raises(BackendError, match="'fpga'"):
        verify(tmp_path, backend="fpga")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_backend_that_cannot_run_gives_its_reason(tmp_path):
    with pytest.raises(BackendError, match="backend 'cuda'"):
        verify(tmp_path, backend="cuda")


def test_public_face():
    assert set(package.__all__) == {"Row", "run_reference", "verify"}
