"""The README says what the program does: its commands, settings, formats, set-up lines and transcript."""

import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click
import pytest

from quartermaster import errors
from quartermaster.adapters import adapters
from quartermaster.cli import COMMANDS, cli
from quartermaster.config import SETTINGS, VARIABLES_BESIDE_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of every table below a heading, without their heads."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows: list[list[str]] = []
    for is_table, lines in groupby(section.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            _, _, *found = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
            rows += found
    return rows


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, such as `eval replay`."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}".rstrip(), one) for inner, one in command.commands.items())
        else:
            yield name, command


def test_the_set_up_lines_of_the_readme_are_those_that_ci_runs():
    shown = re.findall(r"```sh\n(python3 -m venv .*)\n```", README)
    ran = subprocess.run(
        ["bash", ".ci/run", "--commands"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown == ran.stdout.splitlines()
    script = (ROOT / ".ci" / "run").read_text()
    for variable in ("main_line", "test_line"):
        assert f'bash -euo pipefail -c "${variable}"' in script
    assert "venv .venv-test" not in script.replace(r"venv \.venv-test", "")


def test_the_set_up_lines_need_nothing_but_python():
    for line in re.findall(r"```sh\n(python3 -m venv .*)\n```", README):
        programs = [part.split()[0] for part in line.split(" && ")]
        assert programs[0] == "python3"
        assert all(program.startswith(".venv") for program in programs[1:])


def test_every_setting_is_in_the_table_of_settings_with_its_variable_and_default():
    rows = {row[0].strip("`"): row for row in table("Settings") if len(row) == 4}
    assert set(rows) == {setting.key for setting in SETTINGS}
    for setting in SETTINGS:
        _, variable, default, about = rows[setting.key]
        assert variable == f"`{setting.variable}`"
        assert default == _default(setting.default)
        assert about == setting.about


def _default(value: object) -> str:
    if value == ():
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def test_every_variable_that_is_no_setting_is_documented():
    rows = {row[0].strip("`") for row in table("Settings") if len(row) == 2}
    assert rows == set(VARIABLES_BESIDE_SETTINGS)


def test_every_command_is_in_the_table_of_commands_and_no_other():
    rows = [row[0].strip("`") for row in table("Command line") if row[0].startswith("`quartermaster")]
    documented = {" ".join(_words(row)) for row in rows}
    assert documented == {name for name, _ in commands()}


def _words(row: str) -> list[str]:
    """`eval replay` of `quartermaster eval replay MISSION [--wait]`."""
    return [word for word in re.split(r" (?=[A-Z\[-])", row)[0].split()[1:] if word.islower()]


def test_every_option_that_the_readme_shows_exists():
    known = {
        option
        for _, command in commands()
        for one in command.params
        for option in (*one.opts, *one.secondary_opts)
    }
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README.split("## HTTP API", 1)[1]))
    assert shown - {"--data-binary", "--help"} <= known


def test_every_command_says_in_one_line_what_it_does_and_explains_its_options():
    for name, command in commands():
        assert command.help, name
        assert command.help.splitlines()[0].endswith("."), name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_program_and_of_the_command_agree(name: str):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    words = command.help.splitlines()[0]
    assert words.split()[0] == COMMANDS[name].split()[0]


def test_the_table_of_formats_names_every_format():
    assert {row[0].strip("`") for row in table("What it reads")} == {adapter.name for adapter in adapters()}


def test_every_exit_code_of_an_error_is_documented():
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.QuartermasterError)
    }
    documented = {
        int(code) for row in table("Command line") if row[0][0].isdigit() for code in row[0].split(",")
    }
    assert codes | {0, 1, 3} <= documented


def test_every_promise_names_tests_that_exist():
    rows = table("Promises, and the tests that hold them")
    assert len(rows) > 5
    for _, test in rows:
        assert (ROOT / test.strip("`")).is_file(), test


def test_the_pictures_of_the_page_are_there_small_and_described():
    pictures = re.findall(r"!\[([^\]]*)\]\((data/[^)]+)\)", README)
    assert len(pictures) >= 2
    for described, place in pictures:
        assert len(described) > 40, place
        assert (ROOT / place).stat().st_size <= 120_000, "take them anew: tests/web/screenshots.py --readme"


def test_the_transcript_is_what_the_demo_prints(quartermaster):
    shown = README.split("```text\n", 1)[1].split("\n```", 1)[0]
    printed = quartermaster("demo")
    assert printed.returncode == 0
    assert printed.stdout.strip("\n") == shown, "paste what `quartermaster demo` prints into the README"


def test_the_readme_names_no_place_of_a_single_machine():
    assert not re.search(r"(?<![\w~.<>])/(home|root|tmp|work|Users)/", README)
