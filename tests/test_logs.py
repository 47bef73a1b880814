"""Lines for operators: they go where standard error is, and never stand in the way of the work."""

import io

import pytest
import structlog

from quartermaster import logs
from quartermaster.home import write_privately


def test_a_line_goes_to_standard_error_as_it_is_when_the_line_comes(monkeypatch: pytest.MonkeyPatch):
    closed, present = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", closed)
    logs.configure("json")
    closed.close()
    structlog.get_logger().info("lost without a word")
    monkeypatch.setattr("sys.stderr", present)
    structlog.get_logger().info("seen", file="a.json")
    assert '"event": "seen"' in present.getvalue()


def test_a_private_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "address"
    write_privately(path, "first")
    with path.open() as before:
        write_privately(path, "second")
        assert before.read() == "first"
    assert path.read_text() == "second"
    assert [one.name for one in tmp_path.iterdir()] == ["address"]
