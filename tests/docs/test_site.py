"""The site builds without a warning, and what pages are made from is what stands in them."""

import re
import subprocess
import sys

import pytest
from documents import ROOT, blocks, read
from site_tools import load_tool

from aafast.bench.report import filled

PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    done = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site):
    assert {name.replace(".md", ".html") for name in PAGES} <= {path.name for path in site.glob("*.html")}
    assert (site / "examples" / "deblurring.py").is_file() and not (site / "tools").exists()


def test_nothing_is_fetched_when_a_page_is_read(site):
    for page in ("index.html", "api.html", "method.html"):
        text = (site / page).read_text(encoding="utf-8")
        fetched = re.findall(r"<script[^>]*src=\"([^\"]*)|<link[^>]*stylesheet[^>]*href=\"([^\"]*)", text)
        assert len(fetched) > 3 and not [one for pair in fetched for one in pair if "//" in one]


def test_the_api_has_what_the_package_offers(site):
    import aafast

    text = (site / "api.html").read_text(encoding="utf-8")
    wanted = [name for name in aafast.__all__ if name != "engine"]
    assert [name for name in wanted if not re.search(rf'id="aafast\.(\w+\.)*{name}"', text)] == []
    assert "A0: a forward model" in text  # from a docstring


def test_every_page_can_be_reached():
    """A page that the menu lacks would be found by searching alone."""
    menu = read("mkdocs.yml")
    assert [name for name in PAGES if f": {name}" not in menu] == []


def test_the_command_line_page_is_made_from_the_parser():
    """`python docs/tools/cli.py --write` brings it up to date."""
    text = read("docs/cli.md")
    assert filled(text, load_tool("cli").TABLES) == text
    assert "### aafast run" in text and "| `--memory SIZE` |" in text and "| 143 |" in text


def test_figures_were_drawn_from_what_is_committed():
    """`python docs/tools/figures.py` draws them again."""
    pytest.importorskip("matplotlib")
    tool = load_tool("figures")
    for name in tool.FIGURES:
        assert tool.digest(name) in (tool.FOLDER / f"{name}.svg").read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", ["wavelets", "levels", "evaluations"])
def test_a_figure_shows_its_numbers(name):
    matplotlib = pytest.importorskip("matplotlib")
    tool = load_tool("figures")
    with matplotlib.rc_context(tool.STYLE):
        figure = tool.FIGURES[name][0]()
    axes = figure.axes[0]
    if name == "wavelets":
        line = tool.example_line()
        assert abs(axes.lines[0].get_ydata() - line.wavelet_true).max() == 0
    elif name == "levels":
        kept = [r for r in tool.rows("evaluation-shipped.jsonl") if r["variant"] in ("-", "as-saved")]
        rows = {(r["mismatch"], r["label"], r["told"]): r["psnr"]["mean"] for r in kept if r["task"] == "deconv"}
        gain = rows["out", "shipped deconv", "nominal"] - rows["out", "data", "-"]
        assert any(abs(bar.get_height() - gain) < 1e-9 for bar in axes.patches)
    else:
        assert len(axes.patches) == 4 and min(bar.get_width() for bar in axes.patches) > 5


def test_fences_are_of_few_kinds():
    """Another spelling of a language would keep its code from being tested."""
    for name in PAGES:
        for block in blocks(read(f"docs/{name}")):
            assert block.kind in ("", "setup", "python", "text", "sh", "bash", "console", "json", "toml"), (name, block)
