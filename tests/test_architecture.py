"""The shape of the program, held by its imports: who may use whom, what does no I/O, what lies where."""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import quartermaster

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "quartermaster"

LEVELS = (
    {"errors", "imports", "instruments", "pulse"},
    {"core"},
    {"adapters", "store"},
    {
        "administration",
        "alerting",
        "backups",
        "checkup",
        "evaluate",
        "examine",
        "examiner",
        "freezing",
        "recomputing",
        "gathering",
        "grounds",
        "history",
        "home",
        "inbox",
        "ingest",
        "jobs",
        "lifeline",
        "looking",
        "lookout",
        "recording",
        "selftest",
        "sets",
        "telemetry",
        "worker",
        "workers",
    },
    {"api", "exports", "web"},
    {
        "__main__",
        "batch",
        "cli",
        "client",
        "config",
        "daemon",
        "frames",
        "library",
        "listeners",
        "logs",
        "mcp_tools",
        "pytest_plugin",
        "recorder",
        "server",
        "service_manager",
    },
)
"""A room imports from the levels before its own. Rooms of the levels in CLOSED do not import each other."""
CLOSED = (2, 4)

READERS_OF_SETTINGS = {"cli", "daemon", "library"}

CALCULATOR = {
    "array", "ast", "base64", "bisect", "collections", "collections.abc", "datetime", "decimal", "enum",
    "fractions",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "statistics", "string",
    "struct", "typing", "unicodedata", "zlib",
    "genai_prices", "msgspec", "numpy", "rapidfuzz", "zstandard",
}  # fmt: skip
"""What core and adapters may import from elsewhere: nothing here reads a clock, a disk or a network."""
BESIDE_CALCULATOR = {
    "adapters/__init__.py": {"importlib", "pkgutil"},  # how trace formats are found by themselves
    "core/alerts.py": {"urllib.parse"},  # how an address is written
    "adapters/_junit_markup.py": {"xml.parsers"},  # the parser alone: it opens nothing
    "core/secrets.py": {"ahocorasick_rs"},  # a search in memory
}

IMPURE_FUNCTIONS = {"open", "print", "input"}
IMPURE_METHODS = {"now", "today", "utcnow", "urandom", "time_ns"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def level_of(room: str) -> int:
    for level, rooms in enumerate(LEVELS):
        if room in rooms:
            return level
    raise AssertionError(f"the room {room!r} has no place in LEVELS; decide who may import it")


def imports_of(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside of functions."""
    known = {name_of(one) for one in modules()}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield whole if whole in known else module


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_from_rooms_below_its_own(path: Path):
    room = room_of(name_of(path))
    for imported in imports_of(path):
        if not imported.startswith("quartermaster."):
            continue
        other = room_of(imported)
        if other == room or not room:
            continue
        own, theirs = level_of(room), level_of(other)
        allowed = theirs < own or (theirs == own and own not in CLOSED)
        assert allowed, f"{name_of(path)} imports {imported}"


def test_only_the_command_line_the_library_and_the_daemon_read_settings():
    readers = {
        room_of(name_of(path))
        for path in modules()
        if "quartermaster.config" in imports_of(path) and room_of(name_of(path)) != "config"
    }
    assert readers == READERS_OF_SETTINGS


def test_no_module_imports_itself_by_a_detour():
    edges = {name_of(path): set(imports_of(path)) for path in modules()}
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name in finished:
            return
        for imported in edges.get(name, ()):
            if imported != "quartermaster":
                visit(imported, (*way, name))
        finished.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize(
    "path", [path for path in modules() if room_of(name_of(path)) in ("core", "adapters")], ids=name_of
)
def test_the_calculator_does_no_input_and_no_output(path: Path):
    allowed = CALCULATOR | BESIDE_CALCULATOR.get(path.relative_to(PACKAGE).as_posix(), set())
    for imported in imports_of(path):
        if imported.split(".")[0] == "quartermaster":
            continue
        assert imported in allowed or imported.split(".")[0] in allowed, f"{name_of(path)} imports {imported}"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            is_function = isinstance(node.func, ast.Name)
            called = getattr(node.func, "id" if is_function else "attr", "")
            impure = IMPURE_FUNCTIONS if is_function else IMPURE_METHODS
            assert called not in impure, f"{name_of(path)} calls {called}() in line {node.lineno}"


def test_one_module_alone_imports_sqlite():
    importers = {
        name_of(path)
        for path in modules()
        for imported in imports_of(path)
        if imported.split(".")[0] in ("sqlite3", "pysqlite3", "apsw")
    }
    assert importers == {"quartermaster.store.database"}


def test_the_top_of_the_project_holds_what_it_should_and_nothing_else():
    made_by_tools = {"build", "dist", "__pycache__", "quartermaster.egg-info"}
    found = {name for name in os.listdir(ROOT) if not name.startswith(".")} - made_by_tools
    needed = {"pyproject.toml", "quartermaster", "data", "tests", "README.md"}
    assert needed <= found <= needed | {"systemd"}


@pytest.mark.skipif(
    os.environ.get("QUARTERMASTER_TEST_INSTALLED") != "1", reason="only where an installed wheel is tested"
)
def test_what_is_tested_is_the_installed_wheel():
    assert Path(quartermaster.__file__).is_relative_to(sys.prefix)
    assert not Path(quartermaster.__file__).is_relative_to(PACKAGE)
