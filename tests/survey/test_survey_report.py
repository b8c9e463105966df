"""The report: one file that fetches nothing, shows what it must, and escapes every text taken from a file."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from aafast.errors import FileError
from aafast.survey import figures
from aafast.survey.report import Report, Table, render, write_report

from .conftest import correcting, quick, synthetic, write_segy

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def pictures(text):
    return [base64.b64decode(m) for m in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]


def minimal(**changes):
    rng = np.random.default_rng(0)
    before, after = rng.standard_normal((2, 60, 30))
    values = {
        "title": "A line",
        "lead": "Made up",
        "tiles": [("1", "line")],
        "panels": [("Before", before), ("After", after)],
        "spectra": [("before", before), ("after", after)],
        "dt": 4.0,
        "t0": 100.0,
        "axis": "CDP",
        "numbers": np.arange(30) + 7,
        "wavelet": np.array([0.0, 1.0, 0.0]),
        "residuals": np.full((3, 4), 0.1),
        "iterations": np.array([3, 3, 2, 1]),
        "seconds": {"solve": 1.0, "total": 1.2},
        "parameters": {"model": "m"},
    }
    return Report(**{**values, **changes})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "a & <b>"
    folder.mkdir()
    data = synthetic(200, 60)
    data[:, 3] = 0
    text = {1: f"CLIENT {SCRIPT}", 2: "AREA <img src=x onerror=alert(1)>"}
    source = write_segy(folder / "in <i>x.sgy", data, text=text)
    result = quick(
        source, folder / "out.sgy", report=folder / "report.html", patch=(64, 16), solve=correcting
    )
    return result, (folder / "report.html").read_text(encoding="utf-8")


def test_text_from_files_stays_text(page):
    _, text = page
    seen = Page(text)
    assert SCRIPT in seen.text and "onerror=alert(1)>" in seen.text and "in <i>x.sgy" in seen.text
    assert "script" not in seen.tags and "i" not in seen.tags and "<script" not in text
    assert not any(name.startswith("on") for name, _ in seen.attributes)


def test_it_is_one_file_that_fetches_nothing(page):
    _, text = page
    seen = Page(text)
    assert "default-src 'none'" in text and "http" not in re.sub(r'base64,[^"]+', "", text).replace(
        "http-equiv", ""
    )
    assert all(value.startswith("data:image/png;base64,") for name, value in seen.attributes if name == "src")
    assert not {"link", "iframe", "object", "embed"} & set(seen.tags)
    assert seen.tags.count("img") == 8 and all(p.startswith(b"\x89PNG") for p in pictures(text))


def test_it_tells_what_the_run_did(page):
    result, text = page
    seen = Page(text).text
    for words in (
        "59",
        "traces solved",
        "dead traces",
        "traces/s",
        "data misfit",
        "ricker:25",
        "wiener",
        "160" if result.layout.samples == 160 else "200 samples",
        "Parameters",
        "Text header",
    ):
        assert words in seen
    assert result.report.name == "report.html" and result.seconds["report"] > 0


def test_sections_are_drawn_with_one_clip_time_down_and_numbers_on_top(monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "_encode", lambda plt, figure: drawn.update(figure=figure) or "")
    before = np.random.default_rng(0).standard_normal((100, 40))
    before[:, 0] = 0
    clip = figures.clip_of(before)
    assert clip == pytest.approx(np.quantile(np.abs(before[:, 1:]), 0.99))
    panels = [("Before", before), ("After", 9 * before), ("Residual", before / 9)]
    figures.sections_figure(panels, clip, 4.0, 100.0, "CDP", np.arange(40) + 501)
    axes = [a for a in drawn["figure"].axes if a.images]
    assert [a.images[0].get_clim() for a in axes] == [(-clip, clip)] * 3
    bottom, top = axes[0].get_ylim()
    assert (bottom, top) == (498.0, 98.0) and axes[0].get_ylabel() == "two-way time (ms)"
    assert axes[0].xaxis.get_label_position() == "top" and axes[0].get_xlabel() == "CDP"
    assert axes[0].xaxis.get_ticklabels()[0].get_text() == "501"
    assert len({(a.images[0].get_cmap().name) for a in axes}) == 1
    figures._pyplot().close(drawn["figure"])
    assert drawn["figure"].get_figwidth() <= 11.2

    figures.sections_figure([*panels, ("Truth", before)], clip, 4.0, 100.0, "CDP", np.arange(40) + 501)
    spots = [a.get_subplotspec() for a in drawn["figure"].axes if a.images]
    assert [(s.rowspan.start, s.colspan.start) for s in spots] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    figures._pyplot().close(drawn["figure"])


def test_spectra_show_the_peak_where_it_is(monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "_encode", lambda plt, figure: drawn.update(figure=figure) or "")
    time = np.arange(500) * 0.004
    tone = np.sin(2 * np.pi * 30 * time)[:, None] * np.ones(5)
    figures.spectra_figure([("tone", tone)], 4.0)
    line = drawn["figure"].axes[0].lines[0]
    assert (
        line.get_xdata()[np.argmax(line.get_ydata())] == pytest.approx(30, abs=1)
        and line.get_ydata().max() == 0
    )
    figures._pyplot().close(drawn["figure"])


@pytest.mark.parametrize(
    "changes",
    [
        {"residuals": np.full((3, 4), np.nan), "iterations": np.ones(4, int)},
        {"residuals": np.zeros((1, 4)), "iterations": np.zeros(4, int)},
        {"residuals": np.array([[1e-9]]), "iterations": np.array([40])},
        {"panels": [("Before", np.zeros((60, 30)))], "spectra": [("before", np.zeros((60, 30)))]},
        {
            "panels": [("Before", np.ones((60, 1)))],
            "numbers": np.array([3]),
            "spectra": [("b", np.ones((60, 1)))],
        },
        {"corrected": np.zeros((4, 3)), "true_wavelet": np.array([0, 1.0, 0.5])},
        {"patch_map": (np.array([[1.0, np.nan, 3.0]]), np.array([0.0]), np.array([1, 2, 3]))},
        {"panels": [("Before", np.full((60, 30), 1e30))]},
    ],
)
def test_odd_numbers_still_make_a_page(changes):
    assert len(pictures(render(minimal(**changes)))) >= 5


def test_tables_and_warnings_are_shown_and_escaped():
    table = Table(
        "Against <truth>",
        ("method", "PSNR (dB)"),
        [("FISTA & co", 17.256), ("aafast", np.float32(18.5))],
        "n<1\nn<2",
        ("", ".2f"),
    )
    text = render(minimal(tables=[table], warnings=["a <q> c"], text=["C 1 <x>"], title="<t>"))
    seen = Page(text)
    for words in ("Against <truth>", "FISTA & co", "17.26", "18.50", "n<1", "n<2", "a <q> c", "C 1 <x>", "<t>"):
        assert words in seen.text
    assert not {"q", "x", "t", "truth"} & set(seen.tags)


def test_a_map_of_patches_that_all_took_the_same_is_left_out():
    places = np.array([0.0]), np.array([1, 2])
    same = render(minimal(iterations=np.array([5, 5]), patch_map=(np.array([[5.0, 5.0]]), *places)))
    varied = render(minimal(patch_map=(np.array([[4.0, 5.0]]), *places)))
    assert len(pictures(varied)) == len(pictures(same)) + 1


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "r.html"
    assert write_report(target, minimal()) == target and target.read_text().endswith("</html>\n")
    target.unlink()
    with pytest.raises(ValueError, match="could not convert"):
        write_report(target, minimal(wavelet="none"))
    with pytest.raises(FileError, match="no such folder"):
        write_report(tmp_path / "none" / "r.html", minimal())
    assert list(tmp_path.iterdir()) == []


def test_a_survey_without_matplotlib_runs_but_cannot_report(segy, tmp_path, monkeypatch):
    import sys

    from aafast.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    quick(segy, tmp_path / "out.sgy")
    (tmp_path / "out.sgy").unlink()
    with pytest.raises(MissingDependency, match=r"aafast\[report\]"):
        quick(segy, tmp_path / "out.sgy", report=tmp_path / "r.html")
    assert [p.name for p in tmp_path.iterdir()] == ["in.sgy"]
