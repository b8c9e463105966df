"""Help with examples that the parser accepts, and completion scripts that shells accept."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from aafast.cli import build_parser, main
from aafast.cli._examples import EXAMPLES
from aafast.cli._parser import EXIT_CODES, UsageError

COMMANDS = next(a for a in build_parser()._actions if a.dest == "name").choices


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_description_and_examples(name):
    text = COMMANDS[name].format_help()
    assert COMMANDS[name].description and "examples:" in text
    assert f"  {EXAMPLES[name][0][0]}\n" in text  # as written, not wrapped


def test_every_example_belongs_to_a_command():
    assert set(EXAMPLES) <= set(COMMANDS)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line, _ in lines])
def test_the_parser_accepts_every_example(line):
    found = re.search(r"aafast ([^)>]*)", line)
    arguments = build_parser().parse_args(shlex.split(found[1]))
    assert line in [example for example, _ in EXAMPLES[arguments.name]]


def test_abbreviated_options_are_refused():
    """An abbreviation would break where an option is added."""
    with pytest.raises(UsageError, match="unrecognized"):
        build_parser().parse_args(["run", "a", "b", "--wave", "auto"])


def test_help_lists_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", text, re.M)


def test_every_option_is_explained():
    for name, parser in COMMANDS.items():
        for action in parser._actions:
            assert action.help and action.help != argparse.SUPPRESS, f"{name} {action.dest}"


@pytest.fixture
def script(capsys):
    pytest.importorskip("shtab")

    def make(shell: str) -> str:
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return make


@pytest.mark.parametrize("shell, words", [
    ("bash", ["complete ", "--wavelet-windows", "adaptive"]),
    ("zsh", ["#compdef aafast", "--wavelet-windows", "_files"]),
    ("fish", ["complete -c aafast", "wavelet-windows", "__fish_complete_path"]),
])  # fmt: skip
def test_a_script_knows_commands_options_and_files(script, shell, words):
    text = script(shell)
    assert all(word in text for word in [*words, *COMMANDS])


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("typed, offered", [
    (["ru"], {"run"}),
    (["run", "--wavelet-w"], {"--wavelet-windows"}),
    (["run", "--phase", ""], {"constant", "zero", "auto"}),
    (["run", "li"], {"line.sgy"}),
])  # fmt: skip
def test_bash_completes(script, tmp_path, typed, offered):
    (tmp_path / "completion.sh").write_text(script("bash"))
    (tmp_path / "line.sgy").touch()
    words = shlex.join(["aafast", *typed])
    code = f"""source completion.sh
COMP_WORDS=({words}); COMP_CWORD={len(typed)}; COMP_LINE="aafast"
"$(complete -p aafast | sed 's/.*-F \\([^ ]*\\) .*/\\1/')" aafast {shlex.quote(typed[-1])} {shlex.quote(words)}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert {line.strip() for line in done.stdout.split()} == offered, done.stderr


def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert 'pip install "aafast[completion]"' in capsys.readouterr().err
