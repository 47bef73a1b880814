"""Sources over HTTP: what became of every file, and never where it lies."""

import json

from api_world import World

from quartermaster.store import sources

STRANGE = b'{"entry_type": "robot.danced", "ts": "2026-01-01T00:00:00Z", "mission_id": "m-9"}\n'
GOOD = b'{"entry_type": "llm.call", "ts": "2026-01-01T00:00:01Z", "mission_id": "m-9"}\n'
BAD = b'{"entry_type": 7, "note": "<b>\xff"}\n'


def test_a_file_is_shown_with_what_was_rejected_and_what_is_unknown(world: World) -> None:
    source_id = world.ingest(
        world.crew, "team/day.ndjson", GOOD + BAD + STRANGE + STRANGE.replace(b"9", b"8")
    )
    with world.client() as client:
        shown = client.get(f"/api/v1/sources/{source_id}").json()
    assert (shown["name"], shown["format"], shown["state"]) == ("team/day.ndjson", "native", "complete")
    assert (shown["accepted"], shown["duplicate"], shown["conflicting"], shown["rejected"]) == (3, 0, 0, 1)
    assert (shown["missions"], shown["unread"], shown["masked"]) == (2, 0, {})
    assert shown["unknown_types"] == {"robot.danced": 2}
    [rejected] = shown["rejected_lines"]
    assert (rejected["line"], rejected["position"]) == (2, len(GOOD))
    assert rejected["text"] == BAD.strip().decode("utf-8", "replace")
    assert rejected["reason"]


def test_unknown_types_are_added_up_while_a_file_grows_and_begin_again_when_it_is_rewritten(
    world: World,
) -> None:
    def unknown(data: bytes) -> dict[str, int]:
        source_id = world.ingest(world.crew, "growing.ndjson", data)
        with world.client() as client:
            found: dict[str, int] = client.get(f"/api/v1/sources/{source_id}").json()["unknown_types"]
        return found

    assert unknown(STRANGE) == {"robot.danced": 1}
    assert unknown(STRANGE + STRANGE.replace(b"danced", b"slept")) == {"robot.danced": 1, "robot.slept": 1}
    assert unknown(GOOD) == {}


def test_files_are_listed_last_changed_first_in_pages_and_by_filter(world: World) -> None:
    for name, data in (("a_1.ndjson", GOOD), ("notes.txt", b"dear diary\n"), ("b%2.ndjson", STRANGE)):
        world.ingest(world.crew, name, data)
    with world.client() as client:

        def names(**query: object) -> list[str]:
            rows = client.get("/api/v1/sources", params=query).json()["rows"]
            return [row["name"] for row in rows]

        first = client.get("/api/v1/sources", params={"limit": 2}).json()
        rest = client.get("/api/v1/sources", params={"cursor": first["next_cursor"]}).json()
        assert names() == [row["name"] for row in (*first["rows"], *rest["rows"])]
        assert names() == ["b%2.ndjson", "notes.txt", "a_1.ndjson"]
        assert "next_cursor" not in rest
        assert names(state="unrecognised") == ["notes.txt"]
        assert names(format="native") == ["b%2.ndjson", "a_1.ndjson"]
        assert names(q="_1") == ["a_1.ndjson"]
        assert names(q="%") == ["b%2.ndjson"]
        assert names(q="nothing") == []
        for query in ("state=lost", "limit=0", f"limit={sources.LIST_LIMIT + 1}", "cursor=x", "q=a&q=b"):
            assert client.get(f"/api/v1/sources?{query}").status_code == 400


def test_no_answer_holds_a_path_of_the_machine(world: World) -> None:
    source_id = world.ingest(world.crew, "deep/er/day.ndjson", GOOD + BAD)
    folder = str(world.folder)
    with world.client() as client:
        answers = [
            client.get(path).text
            for path in (
                "/api/v1/sources",
                "/api/v1/sources?state=complete",
                f"/api/v1/sources/{source_id}",
                "/api/v1/missions/m-9",
            )
        ]
    assert all("deep/er/day.ndjson" in one for one in answers)
    assert not any(folder in one or '"path"' in one for one in answers)
    [source] = json.loads(answers[-1])["sources"]
    assert source["source_id"] == source_id


def test_a_name_that_is_no_text_is_shown_as_one(world: World) -> None:
    path = world.folder / "recordings" / "caf\udce9.ndjson"
    path.parent.mkdir()
    path.write_bytes(GOOD)
    world.ingest(world.crew, "other.ndjson", STRANGE)
    with world.client() as client:
        names = {row["name"] for row in client.get("/api/v1/sources").json()["rows"]}
    assert names == {"caf\\udce9.ndjson", "other.ndjson"}
