"""The worked examples run from end to end, in their quick form."""

import runpy
import sys

import pytest
from documents import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "docs" / "examples").glob("*.py"))
NEEDS = {"seismic_line.py": ("segyio", "tqdm", "matplotlib")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_runs(name, monkeypatch, tmp_path, capsys):
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    runpy.run_path(str(ROOT / "docs" / "examples" / name), run_name="__main__")
    out = capsys.readouterr().out
    assert {"seismic_line.py": "correlation", "deblurring.py": "adaptive-lu", "custom_operator.py": "PSNR"}[name] in out


def test_there_are_three_and_each_is_a_notebook():
    assert len(SCRIPTS) == 3
    for name in SCRIPTS:
        text = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
        assert text.count("\n# %% ") >= 5, name
