"""Wavelet files: one or two columns, header lines, units, centre; and everything that is wrong with them."""

import numpy as np
import pytest

from aafast.errors import FileError, FormatError, InputError
from aafast.survey.wavelet import ricker
from aafast.survey.wavelet_file import read_wavelet

RICKER = ricker(25, 4.0)


def save(path, columns, head="", tail=""):
    rows = "\n".join(" ".join(f"{v:.8f}" for v in row) for row in np.atleast_2d(np.stack(columns, 1)))
    path.write_text(head + rows + "\n" + tail)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "wavelet.txt"


def close(found, expected=RICKER.samples, atol=2e-3):
    """Equal after padding the shorter with zeros on both sides."""
    width = max(found.samples.size, expected.size)
    pad = [np.pad(w, (width - w.size) // 2) for w in (found.samples, expected)]
    return np.allclose(*pad, atol=atol)


@pytest.mark.parametrize("unit", [1.0, 1e-3], ids=["ms", "s"])
def test_two_columns_are_centred_at_time_zero(file, unit):
    delayed = np.roll(RICKER.samples, 3)  # its peak is at 12 ms: time zero decides, not the peak
    assert close(read_wavelet(save(file, [RICKER.time * unit, delayed]), 4.0, 500), delayed)


def test_without_time_zero_inside_the_envelope_decides(file):
    padded = np.pad(RICKER.samples, (0, 20))
    assert close(read_wavelet(save(file, [padded]), 4.0, 500))
    assert close(read_wavelet(save(file, [4.0 * np.arange(padded.size), padded]), 4.0, 500))


def test_words_around_the_numbers_commas_and_a_byte_order_mark_are_tolerated(file):
    text = (
        "\ufeffWavelet of well 7\nTime, Amplitude\n# ms, -\n"
        + "\n".join(f"{t:g},{a:.7f}" for t, a in zip(RICKER.time, RICKER.samples, strict=True))
        + "\n\nEOF\n"
    )
    file.write_text(text, encoding="utf-8")
    assert close(read_wavelet(file, 4.0, 500))


def test_result_is_odd_unit_norm_and_trimmed(file):
    found = read_wavelet(save(file, [np.pad(RICKER.samples, (40, 31))]), 4.0, 500)
    assert found.samples.size % 2 == 1 and found.samples.size <= 51
    assert np.linalg.norm(found.samples) == pytest.approx(1, abs=1e-6)
    assert found.source == "wavelet.txt"


def test_a_single_spike_is_a_wavelet(file):
    found = read_wavelet(save(file, [np.array([0, 0, 1.0, 0, 0])]), 4.0, 500)
    assert found.samples.tolist() == [0, 1, 0]


def test_another_sample_interval_is_refused(file):
    with pytest.raises(InputError, match="sample interval 4 ms; expected that of the data, 2 ms"):
        read_wavelet(save(file, [RICKER.time, RICKER.samples]), 2.0, 500)


def test_longer_than_the_trace_is_refused(file):
    with pytest.raises(InputError, match="51 samples; expected at most the 50 of a trace"):
        read_wavelet(save(file, [RICKER.samples]), 4.0, 50)
    lopsided = np.append(np.zeros(40), [1.0, 0.5, 0.2])
    lopsided[0] = 0.5
    with pytest.raises(InputError, match="made symmetric"):
        read_wavelet(save(file, [lopsided]), 4.0, 50)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_named_by_row(file, value):
    taps = RICKER.samples.copy()
    taps[10] = value
    with pytest.raises(InputError, match="row 11"):
        read_wavelet(save(file, [taps]), 4.0, 500)
    with pytest.raises(InputError, match="row 11"):
        read_wavelet(save(file, [RICKER.time, taps]), 4.0, 500)


def test_zeros_and_uneven_times_are_refused(file):
    with pytest.raises(InputError, match="zeros"):
        read_wavelet(save(file, [np.zeros(9)]), 4.0, 500)
    for times in (np.append(RICKER.time[:-1], 500.0), RICKER.time[::-1]):
        with pytest.raises(InputError, match="evenly spaced"):
            read_wavelet(save(file, [times, RICKER.samples]), 4.0, 500)
    with pytest.raises(InputError, match="time zero"):
        read_wavelet(save(file, [RICKER.time + 2, RICKER.samples]), 4.0, 500)


@pytest.mark.parametrize(
    "text", ["", "only words\n", "1 2 3\n4 5 6\n7 8 9\n", "1\n2\n", "1 2\n3\n4 5\n", "1\n2\n3\nx\n4\n"]
)
def test_what_is_no_table_of_one_or_two_columns_is_refused(file, text):
    file.write_text(text)
    with pytest.raises(FormatError, match="column|rows of numbers"):
        read_wavelet(file, 4.0, 500)


def test_binary_huge_missing_and_folders_are_refused(file, tmp_path):
    file.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(FormatError, match="text"):
        read_wavelet(file, 4.0, 500)
    with open(file, "wb") as handle:
        handle.truncate(1 << 40)  # a sparse file: nothing of it may be read
    with pytest.raises(FormatError, match="under 1 MB"):
        read_wavelet(file, 4.0, 500)
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(FileError, match="readable text file"):
            read_wavelet(path, 4.0, 500)


def test_shared_wavelets(shared):
    folder = shared / "data" / "wavelets"
    found = read_wavelet(folder / "volve_ricker20Hz_wavelet.txt", 2.0, 500)
    assert found.dominant == pytest.approx(20, abs=1) and abs(found.phase) < 2
    found = read_wavelet(folder / "volve_statistical_source_wavelet.txt", 1.0, 500)
    assert 10 < found.dominant < 40 and abs(found.phase) < 5
    with pytest.raises(InputError, match="sample interval 2 ms"):
        read_wavelet(folder / "volve_ricker20Hz_wavelet.txt", 4.0, 500)
