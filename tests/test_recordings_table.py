"""All development traces, each really ingested: what is known of them comes out, and no byte is lost.

`recordings_facts.json` holds what is said of the files by those who collected them. Where the program says
something else, the difference is there by name, with its reason.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recordings_table import (
    TRACES,
    Judged,
    Taken,
    figures,
    judge,
    new_workspace,
    recordings,
    records_in,
    table,
    table_of_folders,
    take_all,
)

from quartermaster.ingest import ingest_paths
from quartermaster.store import journal
from quartermaster.store.access import Workspace
from quartermaster.store.database import Database
from quartermaster.store.journal import JournalFilter

pytestmark = pytest.mark.skipif(
    not TRACES.is_dir(), reason="no development traces beside the project; set QUARTERMASTER_TRACES"
)

FACTS: dict[str, Any] = msgspec.json.decode(Path(__file__).with_name("recordings_facts.json").read_bytes())
NO_RECORDINGS = {file for file, fact in FACTS["files"].items() if "no_recording" in fact}
ALONE_WITHOUT_MEANING = "openhands/session_63b43159/events/"
"""Single events of a session: recognised, and rejected because none says which session it belongs to."""

FORMATS = {
    "agentrx": {"chat_messages", "tau_bench"},
    "claude_code": {"claude_code"},
    "codex_cli": {"codex_cli"},
    "codex_exec_text": {"codex_exec_text"},
    "copilot_cli": {"copilot_cli"},
    "crewship": set(),
    "gemini_cli": {"gemini_cli"},
    "harbor_atif": {"harbor_atif"},
    "inspect_ai": {"inspect_ai"},
    "langfuse": {"langfuse"},
    "mast": {"mast"},
    "mini_swe_agent": {"mini_swe_agent"},
    "openai_agents_sdk": {"openai_agents_sdk", "otel_sdk_json"},
    "openhands": {"openhands", "openhands_output"},
    "openinference_vercel": {"openinference_vercel"},
    "otel_jaeger": {"otel_jaeger"},
    "otel_sdk_json": {"otel_sdk_json"},
    "otlp_json": {"otlp_json_lines", "otel_tempo"},
    "swe_agent": {"swe_agent"},
    "tau2_bench": {"tau2_bench"},
    "tau_bench": {"tau_bench"},
    "trae_agent": {"trae_agent"},
    "who_and_when": {"who_and_when"},
}
"""What the recordings of each folder are read as; crewship's is a reply of another API."""

GROWING = [path.parent.name for path in recordings() if path.name.startswith("growing_a")]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Taken]]:
    with Database(tmp_path_factory.mktemp("recordings") / "quartermaster.db") as database:
        yield {one.file: one for one in take_all(database, recordings())}


def read(taken: dict[str, Taken]) -> list[Taken]:
    return [one for one in taken.values() if one.ledger.format is not None]


def test_every_recording_is_recognised_and_nothing_else_is(taken: dict[str, Taken]):
    found: dict[str, set[str]] = {folder: set() for folder in FORMATS}
    for one in read(taken):
        found[one.file.split("/")[0]].add(str(one.ledger.format))
    assert found == FORMATS
    assert {one.file for one in taken.values() if one.ledger.format is None} == NO_RECORDINGS
    assert {one.ledger.state for one in read(taken)} == {"complete"}
    assert {taken[file].ledger.state for file in NO_RECORDINGS} == {"unrecognised"}


def test_what_is_known_of_the_files_comes_out_and_each_difference_has_a_name(taken: dict[str, Taken]):
    differences = {}
    for file, fact in FACTS["files"].items():
        here = _figures_of_the_main_missions(taken[file])
        for name, stated in fact.get("stated", {}).items():
            if not _agree(here[name], stated):
                differences[file, name] = here[name]
    named = {
        (file, name): difference["value"]
        for file, fact in FACTS["files"].items()
        for name, difference in fact.get("here", {}).items()
    }
    assert differences == named
    because = {one["because"] for fact in FACTS["files"].values() for one in fact.get("here", {}).values()}
    assert because == set(FACTS["reasons"])


def _figures_of_the_main_missions(one: Taken) -> dict[str, Any]:
    """What is said of a file leaves out the sub-agents in it; its missions are all of them."""
    main = [judged for judged in one.judged if judged.mission.parent_mission_id is None]
    return figures(main)._asdict() | {"missions": len(one.judged)}


def _agree(here: float | None, stated: float | None) -> bool:
    """Equal; money to the last digit that is stated."""
    if here is None or stated is None or isinstance(stated, int):
        return here == stated
    digits = len(str(stated).partition(".")[2])
    return abs(here - stated) <= 0.5 * 10**-digits + 1e-12


def test_the_ledger_adds_up_to_the_records_of_every_file(taken: dict[str, Taken]):
    for one in taken.values():
        ledger = one.ledger
        entries, rejected = records_in((TRACES / one.file).read_bytes())
        assert ledger.accepted + ledger.duplicate + ledger.conflicting == entries, one.file
        assert ledger.rejected == rejected, one.file
        assert len(ledger.rejected_lines) == rejected, one.file


def test_no_byte_of_a_recording_is_unread_and_none_of_any_other_file_is_called_read(taken: dict[str, Taken]):
    for one in taken.values():
        size = (TRACES / one.file).stat().st_size
        assert one.ledger.size == size
        assert one.ledger.unread == (size if one.file in NO_RECORDINGS else 0), one.file


def test_the_bytes_of_every_recording_are_kept_but_for_secrets_and_archives(taken: dict[str, Taken]):
    different = {one.file for one in read(taken) if one.kept != (TRACES / one.file).read_bytes()}
    masked = {one.file for one in taken.values() if one.ledger.masked}
    packed = {one.file for one in taken.values() if one.file.endswith(".eval")}
    assert different == masked | packed
    assert all(taken[file].kept is None for file in packed)
    assert all(b"[masked:" in (taken[file].kept or b"") for file in masked)


def test_a_recording_without_a_mission_is_one_that_says_so(taken: dict[str, Taken]):
    silent = {one.file for one in read(taken) if not one.judged}
    assert silent == {file for file in taken if file.startswith(ALONE_WITHOUT_MEANING)} | {
        "inspect_ai/2025-05-12T20-28-13-04-00_no-samples.json",
        "otel_sdk_json/corrupt_merge_conflict/AGNO_trace.json",
        "tau2_bench/2025-10-05T07-40-31.711552_airline__agent_gpt-4.1_user_simulator_gpt-4.1.json",
    }
    empty = ("no-samples", "gpt-4.1_user_simulator")
    assert all(taken[file].ledger.rejected for file in silent if not any(name in file for name in empty))


def test_entries_that_adapters_write_are_of_types_that_this_program_knows(taken: dict[str, Taken]):
    assert {file: one.ledger.unknown_types for file, one in taken.items() if one.ledger.unknown_types} == {}


def test_the_tables_have_a_row_for_every_file_and_every_folder(taken: dict[str, Taken]):
    by_file, by_folder = (draw(list(taken.values())).splitlines() for draw in (table, table_of_folders))
    assert len(by_file) == len(taken) + 2
    assert len(by_folder) == len(FORMATS) + 2
    assert len({line.count(" | ") for line in (*by_file, *by_folder)}) == 1


def test_recordings_that_grow_are_among_the_traces():
    assert set(GROWING) == {"claude_code", "codex_cli", "gemini_cli"}


@pytest.mark.parametrize("folder", GROWING)
@pytest.mark.parametrize("delivery", ["the file grows", "two files"])
def test_a_recording_that_grew_is_what_it_would_be_read_at_once(folder: str, delivery: str, tmp_path: Path):
    early, late = (next((TRACES / folder).glob(f"growing_{part}__*")) for part in "ab")
    with Database(tmp_path / "quartermaster.db") as database:
        grown, whole = new_workspace(database, "grown"), new_workspace(database, "whole")
        growing = tmp_path / "growing"
        for part, source in (("a", early), ("b", late)):
            path = growing if delivery == "the file grows" else tmp_path / f"growing_{part}"
            shutil.copyfile(source, path)
            (ledger,) = ingest_paths(database, grown.key, [path])
            assert (ledger.unread, ledger.rejected, ledger.conflicting) == (0, 0, 0)
        ingest_paths(database, whole.key, [late])
        assert _told(judge(database, grown)) == _told(judge(database, whole))
        assert _entries(database, grown) == _entries(database, whole)


def _told(judged: tuple[Judged, ...]) -> list[Any]:
    """Missions and their assessments, without what belongs to the database alone."""
    apart = {"key", "revision", "created_at", "changed_at"}
    missions = [msgspec.structs.asdict(one.mission) for one in judged]
    facts = [{name: value for name, value in one.items() if name not in apart} for one in missions]
    return list(zip(facts, [one.assessment for one in judged], strict=True))


def _entries(database: Database, workspace: Workspace) -> list[bytes]:
    filters, entries = JournalFilter(limit=journal.LIST_LIMIT), []
    while True:
        page = database.read_blocking(
            lambda connection, filters=filters: journal.list_entries(connection, workspace.key, filters)
        )
        entries += page.entries
        if page.next_cursor is None:
            return entries
        filters = msgspec.structs.replace(filters, cursor=page.next_cursor)
