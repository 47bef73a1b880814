"""The manual page says what the program does, and is one that `man` takes without a complaint."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command_tree import every_command
from manual_page import page

PAGE = Path(__file__).resolve().parents[1] / "data" / "man" / "quartermaster.1"
LINES = PAGE.read_text().splitlines()


def test_the_manual_page_is_the_one_that_the_program_makes():
    assert PAGE.read_text() == page(), (
        "a command, option or example changed; run: python tests/manual_page.py > data/man/quartermaster.1"
    )


def test_it_has_every_command_and_what_a_manual_page_has():
    sections = [line[4:] for line in LINES if line.startswith(".SH ")]
    assert sections == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO",
    ]  # fmt: skip
    commands = [line[4:].replace("\\-", "-") for line in LINES if line.startswith(".SS ")]
    assert len(commands) == len(every_command())
    assert all(f"{one} ".startswith(f"{name} ") for one, name in zip(commands, every_command(), strict=True))


def test_no_line_of_prose_is_taken_for_a_request():
    known = (".TH ", ".SH ", ".SS ", ".TP", ".PP", ".EX", ".EE", ".B ", ".br", '.\\" ')
    assert [line for line in LINES if line[:1] in (".", "'")] == [
        line for line in LINES if line.startswith(known)
    ]
    assert PAGE.read_text().isascii()


@pytest.mark.parametrize(
    "command",
    [["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"], ["mandoc", "-Tlint", "-W", "warning"]],
    ids=["man", "mandoc"],
)
def test_the_checkers_of_manual_pages_find_nothing(command: list[str]):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [*command, PAGE],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    said = done.stderr if command[0] == "man" else done.stdout + done.stderr
    assert [line for line in said.splitlines() if "missing date" not in line] == []
