"""The single executable file, where QUARTERMASTER_BINARY names one: it holds all that it needs."""

import json
import os
from pathlib import Path

import pytest
from running import PROGRAM

import quartermaster as package

pytestmark = pytest.mark.skipif(
    len(PROGRAM) != 1, reason="QUARTERMASTER_BINARY names no file; .ci/binary makes and tests one"
)


def test_it_is_one_file_that_says_its_version(quartermaster):
    done = quartermaster("--version")
    assert done.stdout == f"quartermaster {package.__version__}\n"
    assert Path(PROGRAM[0]).is_file()


def test_the_demo_finds_samples_prices_and_workers(quartermaster):
    done = quartermaster("demo")
    assert done.returncode == 0, done.stderr
    assert "hallucinations rose from 0 to 1" in done.stdout
    assert "Price lists: genai-prices" in done.stdout


def test_every_format_is_recognised(quartermaster, samples: Path):
    done = quartermaster("ingest", samples, "--format", "json")
    assert done.returncode == 0, done.stderr
    read = {row["format"] for row in json.loads(done.stdout) if row["state"] == "complete"}
    assert read == {folder.name for folder in samples.iterdir() if folder.is_dir()}


@pytest.mark.parametrize("name", ["serve", "compare", "trend", "workspace", "backup", "doctor"])
def test_commands_that_are_loaded_by_name_are_in_it(quartermaster, name: str):
    done = quartermaster(name, "--help")
    assert done.returncode == 0, done.stderr


def test_live_telemetry_and_the_description_of_the_api_work(start_daemon):
    daemon = start_daemon()
    assert daemon.request("POST", "/v1/traces", {"resourceSpans": []}).status == 200
    assert daemon.request("GET", "/schema").json["openapi"].startswith("3.1")


def test_its_unit_starts_the_file_itself_and_hears_the_process_that_it_becomes(quartermaster, tmp_path: Path):
    done = quartermaster("service", "install", "--user", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    unit = (tmp_path / "systemd/user/quartermaster.service").read_text().splitlines()
    assert f"ExecStart={PROGRAM[0]} serve --home {os.fspath(tmp_path / 'home')}" in unit
    assert "NotifyAccess=all" in unit
