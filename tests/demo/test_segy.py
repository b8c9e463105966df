"""The SEG-Y writer: samples, headers, text, refusal, nothing half-written."""

import numpy as np
import pytest

from aafast.demo.segy import write_segy
from aafast.errors import FileError, InputError

segyio = pytest.importorskip("segyio")
SECTION = np.random.default_rng(0).standard_normal((60, 9)).astype(np.float32)


def test_round_trip_of_samples_and_headers(tmp_path):
    dead = np.arange(9) == 4
    path = write_segy(tmp_path / "line.sgy", SECTION, 0.002, dead, notes=("NOMINAL WAVELET RICKER 30 HZ",))
    with segyio.open(path, ignore_geometry=True) as file:
        assert np.array_equal(file.trace.raw[:].T, SECTION)
        assert file.bin[3217] == 2000 and file.bin[3221] == 60 and file.bin[3225] == 5
        assert file.attributes(21)[:].tolist() == list(range(1001, 1010))
        assert set(file.attributes(115)[:]) == {60} and set(file.attributes(117)[:]) == {2000}
        assert set(file.attributes(71)[:]) == {-100}
        assert np.flatnonzero(file.attributes(29)[:] == 2).tolist() == [4]
        xy = np.stack([file.attributes(181)[:], file.attributes(185)[:]], 1) / 100
        assert np.allclose(np.linalg.norm(np.diff(xy, axis=0), axis=1), 12.5, atol=0.02)
        text = file.text[0].decode("ascii")
        assert "NOMINAL WAVELET RICKER 30 HZ" in text and text[39 * 80:].startswith("C40 END TEXTUAL HEADER")
    assert path.stat().st_size == 3600 + 9 * (240 + 4 * 60)
    with open(path, "rb") as file:
        assert file.read(1) == b"\xc3"  # C in EBCDIC


def test_it_is_what_the_survey_reader_reads(tmp_path):
    from aafast.survey.segy import Survey

    path = write_segy(tmp_path / "line.sgy", SECTION, 0.004)
    with Survey(path) as survey:
        assert survey.layout.samples == 60 and survey.layout.interval == 4.0
        assert len(survey.geometry.sections) == 1
        assert np.array_equal(survey.read(survey.geometry.sections[0].traces), SECTION)


@pytest.mark.parametrize("section, dt", [
    (SECTION[0], 0.004), (np.full((8, 8), np.nan), 0.004), (SECTION, 0.0), (SECTION, 0.1), (SECTION, 1.5e-7),
    (np.zeros((70_000, 1)), 0.004),
])
def test_what_segy_cannot_hold_is_refused_and_leaves_nothing(tmp_path, section, dt):
    with pytest.raises(InputError, match="expected"):
        write_segy(tmp_path / "bad.sgy", section, dt)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="expected"):
        write_segy(tmp_path / "none" / "line.sgy", SECTION, 0.004)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aafast.demo.segy._header", stop)
    with pytest.raises(KeyboardInterrupt):
        write_segy(tmp_path / "line.sgy", SECTION, 0.004)
    assert not list(tmp_path.iterdir())
