"""A seismic line from SEG-Y to SEG-Y, with what to look at before believing it.

Run: python docs/examples/seismic_line.py [--quick]        (extras survey and report; a minute on a laptop)
Cells start with `# %%`: editors that know them show this file as a notebook.
"""

# %% A line to work on: post-stack SEG-Y, made here so that its truth is known
import argparse
import tempfile
from pathlib import Path

import numpy as np

from aafast.evaluation import compare
from aafast.survey import (
    SyntheticSurvey,
    calibrate_wavelet,
    load_solver,
    parse_wavelet,
    reconstruct_section,
    run,
    write_survey,
)
from aafast.survey.segy import Survey

options = argparse.ArgumentParser()
options.add_argument("--quick", action="store_true", help="a small line")
small = options.parse_args().quick

folder = Path(tempfile.mkdtemp(prefix="aafast-line-"))
survey = SyntheticSurvey(inlines=1, crosslines=40 if small else 400, samples=96 if small else 500, seed=3)
line = write_survey(folder / "line.sgy", survey)
truth, data, dead = survey.inline(0)
print(f"{line.name}: {data.shape[1]} traces of {data.shape[0]} samples, {int(dead.sum())} dead")

# %% The job: wavelet from the data, the shipped model, a report
result = run(line, folder / "out.sgy", report=folder / "report.html", progress=False)
print(result.summary())

# %% What came out, read back: the headers are the input's, the samples are reflectivity
with Survey(folder / "out.sgy") as written:
    found = written.read(np.arange(written.layout.traces))
assert found.shape == truth.shape and not found[:, dead].any()

# %% How good is it? Only here, where the truth is known. One factor for the line, since amplitudes are relative.
live = ~dead
for name, image in (("data", data), ("aafast", found)):
    scores = compare(truth[None, :, live], image[None, :, live])
    print(f"{name:8} correlation {scores['correlation'][0]:.3f}, Q {scores['quality'][0]:.2f} dB")

# %% What can be looked at without the truth
# The misfit: what the reconstruction, under the wavelet, does not explain. Far above the noise: do not believe it.
print(f"misfit {100 * result.misfit:.1f} % of the data; patches that diverged: {int((result.status == 3).sum())}")
# The wavelet: estimated, and as the model would correct it, patch by patch. A large spread asks for
# `wavelet_windows=(T, A)`, which estimates it in several windows.
spread = np.std(result.wavelets, axis=0).max() / np.abs(result.wavelet.samples).max()
print(f"wavelet {result.wavelet.source}: {result.wavelet.dominant:.0f} Hz, spread of its corrections {spread:.3f}")

# %% The same on an array, with a wavelet that you know, and without files
# The model corrects the wavelet once for the line, from patches of it, as `run` does with a wavelet that it is given.
nominal = parse_wavelet("ricker:25", survey.interval, survey.samples)
wavelet = calibrate_wavelet(nominal, data, live)
section = reconstruct_section(data, wavelet, load_solver("deconv"), live=live)
print(f"calibrated from {nominal.dominant:.0f} to {wavelet.dominant:.0f} Hz")
print(f"on an array: {section.x.shape}, backend {section.backend}")
print(f"everything is in {folder}")
