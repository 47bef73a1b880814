"""How results are printed: forms, alignment, and nothing that could steer a terminal."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from quartermaster.cli import output

ROWS = [{"name": "a|b", "count": 1234, "share": 0.5, "known": True}, {"name": "c", "count": None}]
COLUMNS = (output.field("NAME", "name"), output.field("COUNT", "count", right=True))


def test_a_plain_table_is_aligned_and_ends_no_line_with_blanks():
    assert output.table("table", ROWS, COLUMNS).splitlines() == ["NAME  COUNT", "a|b   1,234", "c"]


def test_a_markdown_table_escapes_what_would_end_a_cell():
    assert output.table("markdown", ROWS, COLUMNS).splitlines() == [
        "| NAME | COUNT |",
        "| --- | ---: |",
        "| a\\|b | 1,234 |",
        "| c |  |",
    ]


def test_the_json_forms_hold_whole_rows(capfdbinary):
    output.print_rows("json", ROWS, COLUMNS)
    assert json.loads(capfdbinary.readouterr().out) == ROWS
    output.print_rows("ndjson", iter(ROWS), COLUMNS)
    assert [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()] == ROWS


def test_a_table_without_rows_still_has_its_head():
    assert output.table("table", [], COLUMNS) == "NAME  COUNT"


def test_control_characters_of_a_recording_do_not_reach_the_terminal():
    assert output.text("\x1b[2Jevil\u202e\u0007") == "\ufffd[2Jevil\ufffd\ufffd"
    assert output.text("two\nlines") == "two lines"
    assert output.text({"a": "\x1b"}) == '{"a":"\\u001b"}'


def test_a_report_reads_without_its_markup():
    markdown = "# Regressed\n\n- `x` fell\n\n| metric | value |\n| --- | --- |\n| a |  |\n| long name | 2 |\n"
    assert output.without_markup(markdown).splitlines() == [
        "Regressed",
        "",
        "- x fell",
        "",
        "metric     value",
        "a",
        "long name  2",
    ]


def printed_on_a_terminal(*arguments: object, home: Path, **environment: str) -> str:
    """What a command shows somebody who sits in front of it."""
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "quartermaster", *map(str, arguments), "--home", str(home)],
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=home.parent,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", **environment},
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # how the end of a terminal looks
                break
            if not chunk:
                break
            shown += chunk
    os.close(master)
    assert process.returncode == 0
    return shown.decode()


def test_a_terminal_gets_a_drawn_table_and_no_colour_when_it_wants_none(
    quartermaster, samples: Path, home: Path
):
    quartermaster("ingest", samples / "native")
    drawn = printed_on_a_terminal("missions", home=home)
    assert "─" in drawn
    assert "demo-login-fix-baseline" in drawn
    assert "\x1b[3" not in printed_on_a_terminal("missions", home=home, NO_COLOR="1")


def test_a_terminal_that_is_too_narrow_for_a_table_gets_a_block_of_lines_a_row(
    quartermaster, samples: Path, home: Path
):
    quartermaster("ingest", samples / "native")
    shown = printed_on_a_terminal("missions", home=home, COLUMNS="80").replace("\r", "").splitlines()
    assert "MISSION   demo-login-fix-baseline" in shown
    assert "MISSION   demo-login-fix-candidate" in shown
    assert "" in shown


def test_data_goes_to_stdout_and_talk_to_stderr(quartermaster, tmp_path: Path, samples: Path):
    done = quartermaster("ingest", samples / "native", "--format", "json")
    assert json.loads(done.stdout)
    assert done.stderr == ""
    listed = quartermaster("missions", "--format", "markdown")
    assert listed.stdout.startswith("| MISSION |")
    assert "examined" not in listed.stdout
    assert listed.stderr.startswith("2 of 2 missions are not examined yet")
