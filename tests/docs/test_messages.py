"""Every message of the troubleshooting page stands in the source, and those that are quick to provoke do appear."""

import re

import numpy as np
import pytest
import torch
from documents import ROOT, read
from site_tools import load_tool

import aafast
from aafast.cli import main
from aafast.survey import SyntheticSurvey, make_wavelet, write_survey

PAGE = read("docs/troubleshooting.md")
HEADINGS = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)
REASONS = re.findall(r"^- `(.+?)`:", PAGE.replace("\n  ", " "), re.MULTILINE)
MESSAGES = {message.text for message in load_tool("messages").messages()}


def pattern(documented: str) -> re.Pattern:
    """What a real message looks like: any value for each `...`."""
    return re.compile(".*?".join(map(re.escape, documented.split("..."))), re.DOTALL)


@pytest.mark.parametrize("text", [*HEADINGS, *REASONS])
def test_a_documented_message_is_in_the_source(text):
    assert any(message.startswith(text) for message in MESSAGES)


def test_messages_are_read_as_errors_join_them():
    error = aafast.errors.describe("a b", 1, "c d", "E f")
    assert error == "a b: got 1; expected c d. E f." and len(HEADINGS) > 30
    wanted = "scheduler ...: got no workers; expected one or more. Start workers: dask worker ADDRESS."
    assert wanted in MESSAGES and not any(message.startswith("scheduler ...: got some") for message in MESSAGES)


IMAGE = torch.zeros(1, 1, 16, 16)
BLUR = aafast.GaussianBlur()
PROVOKED = {
    "channels of": lambda: aafast.build("deblur", "direct")(IMAGE, BLUR),
    "shape of ...: got ...; expected [B": lambda: aafast.build("deblur", "direct")(torch.zeros(1, 3, 4, 4), BLUR),
    "values of": lambda: aafast.build("deblur", "direct")(torch.full((1, 3, 16, 16), torch.nan), BLUR),
    "forward model A0": lambda: aafast.build("deconv", "robust-lu")(IMAGE, torch.cos),
    "z solver": lambda: aafast.load("deconv")(IMAGE, aafast.GaussianBlur()),
    "number of wavelet taps": lambda: aafast.WaveletConvolution(torch.ones(4)),
    "wavelet ...: got shape": lambda: make_wavelet(np.ones(4), 4.0, "mine"),
    "model ...: got no": lambda: aafast.load("none"),
    "model file": lambda: aafast.load("some.pt"),
}


@pytest.mark.parametrize("start", PROVOKED)
def test_what_python_raises_is_what_is_documented(start):
    (documented,) = [text for text in HEADINGS if text.startswith(start)]
    with pytest.raises(aafast.errors.AafastError) as caught:
        PROVOKED[start]()
    assert pattern(documented).match(str(caught.value))


@pytest.mark.parametrize("start, words", [
    ("...: got ...; expected a readable SEG-Y file", "run none.sgy out.sgy"),
    ("...: got ...; expected at least the", "run short.sgy out.sgy"),
    ("...: got ...; expected whole traces", "run cut.sgy out.sgy"),
    ("... ...: got the same file as", "run in.sgy in.sgy"),
    ("wavelet file", "run in.sgy out.sgy --wavelet none.txt"),
    ("well: got", "run in.sgy out.sgy --well well.las"),
    ("memory for", "run in.sgy out.sgy --memory 1MB"),
])  # fmt: skip
def test_what_the_command_prints_is_what_is_documented(start, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = write_survey(tmp_path / "in.sgy", SyntheticSurvey(1, 20, 64)).read_bytes()
    (tmp_path / "short.sgy").write_bytes(whole[:3000])
    (tmp_path / "cut.sgy").write_bytes(whole[:-100])
    assert main([*words.split(), "--quiet"]) == 2
    (documented,) = [text for text in HEADINGS if text.startswith(start)]
    found = capsys.readouterr().err
    assert pattern(documented).match(found.removeprefix("aafast: error: ")), found


def test_the_tool_prints_every_error(capsys):
    load_tool("messages").main()
    assert len(capsys.readouterr().out.splitlines()) > 200 and (ROOT / "docs" / "tools" / "messages.py").is_file()
