"""Every Python block of the documents runs, and the real parser accepts every `aafast` line."""

import shlex

import pytest
from documents import DOCUMENTS, blocks, commands, read, spans

from aafast.cli import build_parser

WITH_CODE = [name for name in DOCUMENTS if any(block.kind == "python" for block in blocks(read(name)))]
WITH_COMMANDS = [name for name in DOCUMENTS if any(commands(read(name)))]
WITH_SPANS = [name for name in DOCUMENTS if any(spans(read(name)))]
COMMANDS = next(action for action in build_parser()._actions if action.dest == "name").choices


@pytest.mark.parametrize("document", WITH_CODE)
def test_python_blocks_run(document, tmp_path, monkeypatch):
    """In order, in one namespace, in an empty folder; a block that does not run says why."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in blocks(read(document)):
        if block.kind in ("setup", "python"):
            code = compile("\n" * block.line + block.code, document, "exec")
            if not block.reason:
                exec(code, namespace)


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_the_parser_accepts_every_command(document):
    for line, text in commands(read(document)):
        words = shlex.split(text)[1:]
        try:
            if any(mark in text for mark in ("[", "...")):  # a synopsis
                check_words(text)
            else:
                build_parser().parse_args(words)
        except SystemExit as end:  # --help and --version
            assert end.code == 0, f"{document}:{line}: {text}"
        except Exception as error:
            raise AssertionError(f"{document}:{line}: {text}: {error}") from error


@pytest.mark.parametrize("document", WITH_SPANS)
def test_commands_in_the_text_have_names_and_options_that_exist(document):
    for text in spans(read(document)):
        check_words(text)


def check_words(text: str) -> None:
    words = text.replace("[", " ").replace("]", " ").replace("|", " ").split()
    if words[1].startswith("-") or words[1].isupper():
        return
    assert words[1] in COMMANDS, text
    for word in words[2:]:
        if word.startswith("--"):
            assert word.split("=")[0] in COMMANDS[words[1]]._option_string_actions, text


def test_the_tests_see_what_they_should():
    text = "a `aafast run --memory 2GB` b\n<!-- not run: takes hours -->\n```python\n1 / 0\n```\n" \
           "<!-- setup\nx = 1\n-->\n```\n$ aafast run a \\\n  b   # why\naafast info | head\nls\n```\n"  # fmt: skip
    found = list(blocks(text))
    assert [(b.kind, b.reason) for b in found] == [("python", "takes hours"), ("setup", ""), ("", "")]
    assert [words.split() for _, words in commands(text)] == [["aafast", "run", "a", "b"], ["aafast", "info"]]
    assert list(spans(text)) == ["aafast run --memory 2GB"]
    with pytest.raises(AssertionError):
        check_words("aafast run --nonsense 2")
    with pytest.raises(AssertionError):
        check_words("aafast nonsense")
    assert len(WITH_CODE) > 3 and len(WITH_COMMANDS) > 3
