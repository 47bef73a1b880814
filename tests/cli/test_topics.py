"""The documentation by topic: every section of the README, drawn on a terminal, Markdown elsewhere."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from quartermaster.cli.topics import TOPICS, find_topic, readme, section
from quartermaster.errors import NotFound

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SECTIONS = [line[3:] for line in README.splitlines() if line.startswith("## ")]


def test_the_documentation_that_is_shown_is_the_readme():
    assert readme() == README


def test_every_section_of_the_readme_is_a_topic_and_each_topic_has_a_name_of_its_own():
    headings = [topic.heading for topic in TOPICS]
    assert set(headings) == {*SECTIONS, "Exit codes"}
    names = [name for topic in TOPICS for name in (topic.name, *topic.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_is_its_whole_section(topic):
    text = section(README, topic.heading)
    assert text in README
    assert text.count("\n```") % 2 == 0  # no block of code is cut
    assert not [other for other in SECTIONS if f"\n## {other}\n" in text]
    assert len(text) > 100


def test_a_comment_in_a_block_of_code_is_no_heading():
    text = "# A\n\n## B\n\n```sh\n# C\nls\n```\n\n### D\n\nd\n\n## E\ne\n"
    assert section(text, "B") == text[text.index("## B") : text.index("\n\n## E")]
    assert section(text, "D") == "### D\n\nd"
    assert section(text, "E") == "## E\ne"
    with pytest.raises(NotFound, match="'C'"):
        section(text, "C")


def test_topics_are_listed_and_printed_as_they_are_where_nobody_looks(quartermaster):
    listed = quartermaster("help").stdout.splitlines()
    assert [line.split()[0].rstrip(",") for line in listed[1:]] == [topic.name for topic in TOPICS]
    assert quartermaster("help", "exit-codes").stdout == section(README, "Exit codes") + "\n"
    assert find_topic("masking") is find_topic("privacy")


def test_the_help_of_a_command_is_printed_by_its_words(quartermaster):
    assert quartermaster("help", "eval", "replay").stdout == quartermaster("eval", "replay", "--help").stdout


@pytest.mark.parametrize("words", [("nonsense",), ("eval", "nonsense"), ("ci", "more")])
def test_a_topic_that_is_none_is_told_with_what_to_do(quartermaster, words: tuple[str, ...]):
    done = quartermaster("help", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "`quartermaster help` lists the topics" in done.stderr


def on_a_terminal(*arguments: str, rows: int, **environment: str) -> str:
    own, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "quartermaster", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": "", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(own, 65536):
            shown += piece
    except OSError:  # how a terminal says that its last program has ended
        pass
    finally:
        os.close(own)
    assert process.wait(30) == 0
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_a_topic_is_drawn_and_a_long_one_paged(tmp_path: Path):
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged; cat\n")
    pager.chmod(0o755)
    short = on_a_terminal("help", "exit-codes", rows=50, PAGER=str(pager))
    assert "\x1b[" in short
    assert "paged" not in short
    assert "|---|" not in short  # the table is drawn
    long = on_a_terminal("help", "exit-codes", rows=5, PAGER=str(pager), NO_COLOR="1")
    assert long.startswith("paged\n")
    assert "daemon not reachable" in long
    assert "\x1b[3" not in long  # no colour where none is wanted
    assert max(map(len, long.splitlines())) <= 80 + len("\x1b[1m\x1b[0m") * 4
