"""The survey's maps: block by block as measured at once, and what they show is what was put in."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from aafast.survey import maps, qc
from aafast.survey.geometry import find_geometry
from aafast.survey.layout import inspect
from aafast.survey.plan import make_plan
from aafast.survey.qc import QcPiece, assemble, load_qc, measure, plan_qc, save_plan, wavelet_change
from aafast.survey.wavelet import ricker

from .conftest import correcting, quick, synthetic, write_segy

LINES, CROSSES, SAMPLES = 6, 40, 96


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Layout, geometry and data [inline, T, crossline] of a cube."""
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(LINES) + 10, np.arange(CROSSES) + 30, indexing="ij"))
    data = np.concatenate([synthetic(SAMPLES, CROSSES, seed=k) for k in range(LINES)], 1)
    path = write_segy(tmp_path_factory.mktemp("qc") / "a.sgy", data, headers={189: inline, 193: crossline})
    return inspect(path), find_geometry(inline, crossline, crossline), np.split(data, LINES, axis=1)


def pieces(cube, cuts, wavelets=False):
    layout, geometry, data = cube
    plan, patches = plan_qc(layout, geometry), make_plan((SAMPLES, CROSSES), (32, 16), (8, 4))
    nominal = ricker(25, 4.0).samples
    columns = len(patches.trace.starts)
    found = []
    for number, section in enumerate(geometry.sections):
        live = np.arange(CROSSES) != 5 + number
        for first, stop in zip(cuts, [*cuts[1:], CROSSES], strict=True):
            here = slice(first, stop)
            starts = np.asarray(patches.trace.starts)
            of_block = np.flatnonzero((starts >= first) & (starts < stop))
            solved = (np.arange(len(patches.time.starts))[:, None] * columns + of_block).ravel()
            image = data[number][:, here]
            found.append(measure(
                plan, number, first, section.numbers, live[here], image, 0.5 * image, 0.25 * image, patches, solved,
                np.full(solved.size, number + 1), np.ones(solved.size, np.int8),
                np.tile(np.roll(nominal, 1), (solved.size, 1)) if wavelets else None, nominal,
            ))  # fmt: skip
    return plan, found


def test_blocks_of_any_width_in_any_order_give_the_same_maps(cube):
    plan, whole = pieces(cube, [0])
    expected = assemble(plan, whole)
    _, cut = pieces(cube, [0, 7, 8, 25])
    found = assemble(plan, [QcPiece.from_arrays(p.to_arrays()) for p in cut[::-1]])
    assert np.array_equal(found.live, expected.live) and np.array_equal(found.dead, expected.dead)
    assert np.array_equal(found.slices, expected.slices, equal_nan=True)
    for (k, a), (j, b) in zip(found.images, expected.images, strict=True):
        assert k == j and np.array_equal(a, b)
    assert np.allclose(found.energy, expected.energy) and np.allclose(found.power, expected.power)
    assert np.allclose(found.iterations, expected.iterations, equal_nan=True)


def test_maps_show_what_was_put_in(cube):
    plan, found = pieces(cube, [0, 20], wavelets=True)
    survey = assemble(plan, found)
    live = np.ones((LINES, CROSSES), bool)
    live[np.arange(LINES), 5 + np.arange(LINES)] = False
    assert np.array_equal(survey.live, live) and np.array_equal(survey.dead, ~live)
    assert np.allclose(survey.misfit()[live], 0.25) and np.isnan(survey.misfit()[~live]).all()
    assert np.array_equal(survey.iterations, np.tile(np.arange(1.0, LINES + 1)[:, None], CROSSES))
    assert np.allclose(survey.frequency, 0, atol=0.1) and np.ptp(survey.phase) < 1e-3
    data = np.stack(cube[2])
    for k, sample in enumerate(plan.slices):
        assert np.array_equal(survey.slices[0, k][live], data[:, sample][live])
        assert np.array_equal(survey.slices[2, k][live], 0.5 * data[:, sample][live])
    number, image = survey.images[1]
    assert np.array_equal(image[0][:, live[number]], data[number][:, live[number]])


def test_sizes_do_not_grow_with_the_survey(cube, monkeypatch):
    monkeypatch.setattr(qc, "_ROWS", 2)
    monkeypatch.setattr(qc, "_COLUMNS", 8)
    monkeypatch.setattr(qc, "_IMAGE", (20, 15))
    plan, found = pieces(cube, [0, 7, 25])
    survey = assemble(plan, found)
    assert survey.live.shape == (2, 8) and survey.live.sum() == LINES * (CROSSES - 1)
    assert all(image.shape == (3, 20, 14) for _, image in survey.images)  # of 96 and 40, every 5th and 3rd
    assert np.allclose(survey.energy[1] / survey.energy[0], 0.0625)


@pytest.mark.parametrize("degrees", [-70, 30])
def test_a_change_of_phase_and_frequency_is_measured(degrees):
    a, b = ricker(25, 4.0).samples, np.pad(ricker(30, 4.0).samples, 0)
    spectrum = np.fft.rfft(np.pad(a, 100), 512)
    turned = np.fft.irfft(spectrum * np.exp(1j * np.radians(degrees)), 512)[: a.size + 200]
    change = wavelet_change(np.stack([turned, np.pad(b, 100)]), np.tile(np.pad(a, 100), (2, 1)), 4.0)
    assert change[0, 1] == pytest.approx(degrees, abs=1) and abs(change[0, 0]) < 0.5
    assert change[1, 0] == pytest.approx(5 * 26.6 / 25, abs=0.5) and abs(change[1, 1]) < 1


def test_a_plan_is_kept_in_a_folder(cube, tmp_path):
    layout, geometry, _ = cube
    plan = plan_qc(layout, geometry)
    save_plan(tmp_path, plan, geometry)
    again, numbers = load_qc(tmp_path)
    assert again == plan and np.array_equal(numbers, np.tile(np.arange(CROSSES) + 30, LINES))


def test_a_map_of_a_line_has_no_gaps_in_time(tmp_path):
    layout = inspect(write_segy(tmp_path / "a.sgy", synthetic(160, 40)))
    geometry = find_geometry(np.zeros(40, int), np.zeros(40, int), np.arange(40) + 1)
    plan, patches = plan_qc(layout, geometry), make_plan((160, 40), (64, 16), (16, 4))
    image, solved = synthetic(160, 40), np.arange(len(patches))
    piece = measure(plan, 0, 0, geometry.sections[0].numbers, np.ones(40, bool), image, image, image, patches, solved,
                    solved, np.ones(solved.size, np.int8), None, np.ones(3))
    survey = assemble(plan, [piece])
    assert survey.iterations.shape == (24, 40) and np.isfinite(survey.iterations).all()
    assert survey.misfit().shape == (24, 40) and np.allclose(survey.misfit(), 1)


LOOK = """<iframe src="{page}" style="width: 1260px; height: 900px"></iframe><pre id="found"></pre><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const images = [...page.images].map(i => [i.complete && i.naturalWidth > 0, i.getBoundingClientRect().width]);
  const fetched = document.querySelector("iframe").contentWindow.performance.getEntriesByType("resource")
    .map(e => e.name).filter(n => !n.startsWith("data:"));
  const wide = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  document.getElementById("found").textContent = JSON.stringify({{
    images, fetched, wide, headings: [...page.querySelectorAll("h2")].map(h => h.textContent),
    scripts: page.scripts.length, title: page.title }});
}});
</script>"""


def in_a_browser(page):
    """What a headless browser makes of a page that lies on the disk."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    look = page.with_name("look.html")
    look.write_text(LOOK.format(page=page.name))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               f"--user-data-dir={page.parent / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--virtual-time-budget=4000", "--dump-dom", look.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    if found is None:
        pytest.skip(f"the browser does not run here: {done.stderr[-200:]}")
    return json.loads(html.unescape(found[1]))


def test_a_browser_shows_the_report_of_a_cube_offline(tmp_path):
    inline, crossline = (a.ravel() for a in np.meshgrid(np.arange(5), np.arange(30), indexing="ij"))
    data = np.concatenate([synthetic(96, 30, seed=k) for k in range(5)], 1)
    data[:, 40:50] = 0

    def solve(y, A0):
        solution = correcting(y, A0)
        solution.wavelet = solution.wavelet + 0.2 * torch.roll(solution.wavelet, 3, dims=1)
        return solution

    source = write_segy(tmp_path / "a.sgy", data, headers={189: inline + 1, 193: crossline + 1})
    quick(source, tmp_path / "b.sgy", solve=solve, report=tmp_path / "r.html", patch=(32, 16))
    found = in_a_browser(tmp_path / "r.html")
    assert all(complete for complete, _ in found["images"]) and len(found["images"]) == 12
    assert max(width for _, width in found["images"]) > 600 and found["wide"] <= 0
    assert found["fetched"] == [] and found["scripts"] == 0
    assert found["headings"][:6] == ["Sections", "Survey", "Time slices", "Inline 2", "Inline 3", "Inline 4"]
    assert found["headings"][6] == "Spectra by window"


def test_pictures_of_a_cube_share_one_clip(cube, monkeypatch):
    plan, found = pieces(cube, [0])
    survey, drawn = assemble(plan, found), []
    monkeypatch.setattr(maps.figures, "_encode", lambda plt, figure: drawn.append(figure) or "")
    assert len(maps.survey_pictures(survey, cube[1])) == 6
    clip = maps.linked_clip(survey)
    limits = {a.images[0].get_clim() for figure in drawn[1:5] for a in figure.axes if a.images}
    assert limits == {(-clip, clip)}
    for figure in drawn:
        maps.figures._pyplot().close(figure)
