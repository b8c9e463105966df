"""Write a synthetic line as post-stack SEG-Y, with the headers a processing system would put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, describe, require
from ..survey.files import AtomicFile

_SPACING = 12.5  # metres between midpoints
_AZIMUTH = np.deg2rad(60.0)
_ORIGIN = (431_000.0, 6_782_000.0)  # metres, a place in no country: coordinates only have to look real


def write_segy(
    path: str | Path,
    section: np.ndarray,
    dt: float,
    dead: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write a section as revision 1 SEG-Y: IEEE float, CDP numbers from 1001, midpoints 12.5 m apart.

    Args:
        path: file to write; it appears under its name only when it is complete.
        section: [T, X] float, finite; 1 to 65535 samples.
        dt: sample interval in seconds, a whole number of microseconds up to 65535.
        dead: mask of dead traces [X], marked by trace code 2.
        notes: up to 20 lines of 76 ASCII characters for the text header.

    Returns:
        The path written.

    Raises:
        InputError: a section or interval that SEG-Y cannot hold. FileError: the file cannot be written.
        MissingDependency: no segyio.
    """
    section = np.ascontiguousarray(section, np.float32)
    if section.ndim != 2 or not 1 <= section.shape[0] <= 65_535 or section.shape[1] < 1:
        raise InputError(describe("section", f"shape {section.shape}", "[T, X] with 1 to 65535 samples",
                                  "Pass one line"))
    if not np.isfinite(section).all():
        raise InputError(describe("section", "NaN or Inf", "finite numbers", "Repair it before writing"))
    interval = round(dt * 1e6)
    if not 1 <= interval <= 65_535 or abs(interval - dt * 1e6) > 1e-3:
        raise InputError(describe("sample interval", f"{dt} s", "whole microseconds from 1 to 65535",
                                  "Resample the section"))
    segyio = require("segyio", extra="survey")
    samples, traces = section.shape
    spec = segyio.spec()
    spec.format = 5
    spec.samples = np.arange(samples) * (interval / 1000)
    spec.tracecount = traces
    target = AtomicFile(path, room=3600 + traces * (240 + 4 * samples), what="SEG-Y file")
    try:
        with segyio.create(str(target.temporary), spec) as file:
            file.text[0] = segyio.tools.create_text_header(_text(samples, traces, interval, notes))
            file.bin.update({
                segyio.BinField.Interval: interval, segyio.BinField.Samples: samples,
                segyio.BinField.Format: 5, segyio.BinField.SortingCode: 4, segyio.BinField.SEGYRevision: 256,
                segyio.BinField.TraceFlag: 1, segyio.BinField.MeasurementSystem: 1,
            })
            for k in range(traces):
                is_dead = dead is not None and bool(dead[k])
                file.header[k].update(_header(segyio.TraceField, k, samples, interval, is_dead))
            file.trace = np.ascontiguousarray(section.T)
        target.commit()
    finally:
        target.discard()
    return target.path


def _text(samples: int, traces: int, interval: int, notes: tuple[str, ...]) -> dict[int, str]:
    lines = ["SYNTHETIC 2D LINE, POST-STACK, MADE BY AAFAST DEMO",
             f"{traces} TRACES, {samples} SAMPLES, {interval} MICROSECONDS, IEEE FLOAT",
             "CDP NUMBER AT BYTE 21, CDP X AND Y AT 181 AND 185 (SCALAR AT 71)", *notes[:20]]
    numbered = {k + 1: line[:76] for k, line in enumerate(lines)}
    return numbered | {39: "SEG Y REV1", 40: "END TEXTUAL HEADER"}


def _header(field: Any, k: int, samples: int, interval: int, dead: bool) -> dict[int, int]:
    east = _ORIGIN[0] + k * _SPACING * np.sin(_AZIMUTH)
    north = _ORIGIN[1] + k * _SPACING * np.cos(_AZIMUTH)
    return {
        field.TRACE_SEQUENCE_LINE: k + 1, field.TRACE_SEQUENCE_FILE: k + 1, field.CDP: 1001 + k,
        field.CDP_TRACE: 1, field.TraceIdentificationCode: 2 if dead else 1, field.SourceGroupScalar: -100,
        field.CDP_X: round(100 * east), field.CDP_Y: round(100 * north), field.CoordinateUnits: 1,
        field.TRACE_SAMPLE_COUNT: samples, field.TRACE_SAMPLE_INTERVAL: interval,
    }
