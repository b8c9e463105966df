"""The survey suite's rows: whole, gated on the plain solve, with shares that add up."""

import numpy as np

from aafast.bench.rows import complaints, line
from aafast.bench.survey import MODELS, QUICK, fista_row, gate_of, make_row, spec_of
from aafast.survey import run, write_survey
from aafast.survey.segy import Survey


def test_a_row_is_whole_and_its_gate_sees_a_changed_sample(tmp_path):
    path, out = write_survey(tmp_path / "in.sgy", QUICK), tmp_path / "out.sgy"
    spec = spec_of(MODELS[0], tmp_path / "model")
    result = run(path, out, wavelet=f"ricker:{QUICK.frequency:g}", model=spec.model, progress=False)
    gate = gate_of(path, out, spec, QUICK)
    row = make_row(MODELS[0], QUICK, [result], 1.0, gate, True)
    assert gate["ok"] and complaints(row) == [] and "survey" in line(row)
    shares = [row[f"share_{name}"] for name in ("waited_io", "solve", "before")]
    assert min(shares) >= 0 and 0 < sum(shares) <= 1 and row["traces_per_s"] > 0
    assert complaints(fista_row(QUICK, 1.0, True)) == []
    with Survey(out) as survey:
        place = survey.layout.data + int(survey.geometry.sections[1].traces[3]) * survey.layout.stride + 240 + 200
    raw = bytearray(out.read_bytes())
    raw[place : place + 4] = np.array([1e6], ">f4").tobytes()
    out.write_bytes(bytes(raw))
    red = gate_of(path, out, spec, QUICK)
    row = make_row(MODELS[0], QUICK, [result], 1.0, red, True)
    assert not red["ok"] and row["speedup"] is None and complaints(row) == []
