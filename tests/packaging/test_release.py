"""What a release consists of: versions that agree, a source distribution with everything, extras that exist."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import aafast

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    """The files of the checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout: the list of files comes from there")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_a_source_distribution_carries_every_file(tmp_path):
    names = tracked()
    for name in names:
        target = tmp_path / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=tmp_path / "tree", env={**os.environ, "AAFAST_CUDA": "0"}, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (tmp_path / "dist").glob(f"aafast-{aafast.__version__}.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    assert [name for name in names if name not in held and name != ".gitignore"] == []


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == aafast.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1].rstrip(",") == (
        aafast.__version__
    )


def test_the_citation_names_paper_and_package():
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found) and found["license"] == "BSD-3-Clause"
    paper = found["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Guan", "Iqbal", "Davenport", "Masood"]
    assert paper["year"] == 2024 and paper["type"] == "article"


def test_hooks_run_the_tools_of_the_environment():
    yaml = pytest.importorskip("yaml")
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert repository["repo"] == "local" and [hook["id"] for hook in repository["hooks"]] == ["ruff", "mypy"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and f"$(BIN)/{hook['entry'].split()[0]}" in makefile
        assert re.compile(hook.get("files", "")).search("aafast/cli/run.py")


def test_every_extra_that_a_message_names_exists():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^([\w-]+) = \[", table, re.M))
    named = set()
    for path in (ROOT / "aafast").rglob("*.py"):
        for group in re.findall(r'extra="([\w,]+)"', path.read_text(encoding="utf-8")):
            named |= set(group.split(","))
    assert named and named <= extras, named - extras
    for one, group in re.findall(r'^(\w+) = \["aafast\[([\w,-]+)\]"', table, re.M):
        assert set(group.split(",")) <= extras, one


def test_stages_that_are_documented_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([\w.-]+)`", text)
    assert {"lint", "test", "docs"} <= set(targets)
    assert [name for name in targets if not re.search(rf"^{re.escape(name)}:", makefile, re.M)] == []
    for name in (".ci/run", ".ci/release", "bench/gpu.sh"):
        assert name in text and os.access(ROOT / name, os.X_OK)
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make lint" in run and "make test" in run and "`make test`" in text
