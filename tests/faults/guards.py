"""Take away one guard after the other and see whether a test notices.

Run it: python tests/faults/guards.py [--only WORD]

Each guard is removed in a copy of the tree, and the tests that should notice are run there. It prints a
line a guard and one JSON object, and exits with 1 when a guard could go unnoticed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 600


class Guard(NamedTuple):
    """What is taken away: in this file this text, for that; and the tests that have to fail then."""

    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]


GUARDS = (
    Guard(
        "the disk is waited for at a commit",
        "quartermaster/store/database.py",
        '"pragma synchronous = full"',
        '"pragma synchronous = normal"',
        ("tests/faults/test_power.py",),
    ),
    Guard(
        "writers begin as writers",
        "quartermaster/store/database.py",
        '"begin immediate"',
        '"begin"',
        ("tests/store/test_database.py",),
    ),
    Guard(
        "a disk that failed ends all writing",
        "quartermaster/store/database.py",
        "            if _is_fatal(caught):\n                self._fail()\n",
        "",
        ("tests/store/test_space.py",),
    ),
    Guard(
        "a full disk throws off the ballast",
        "quartermaster/store/database.py",
        "        if self.space.drop_ballast() and self._checkpoints:",
        "        if False:",
        ("tests/store/test_space.py",),
    ),
    Guard(
        "a database that others may read is refused",
        "quartermaster/store/database.py",
        "    if status.st_mode & 0o007:",
        "    if False:",
        ("tests/store/test_space.py",),
    ),
    Guard(
        "a database of another program is refused",
        "quartermaster/store/database.py",
        "    if tables and application != migrations.APPLICATION_ID:",
        "    if False:",
        ("tests/store/test_space.py",),
    ),
    Guard(
        "who read from a position that has moved on keeps nothing",
        "quartermaster/store/sources.py",
        '" where id = :id and generation = :old_generation and position = :old_position"',
        '" where id = :id and :old_generation is not null and :old_position is not null"',
        ("tests/store/test_sources.py",),
    ),
    Guard(
        "an id is kept once",
        "quartermaster/store/journal.py",
        "        if earlier is None:\n            batch[one.key] = one",
        "        if one.key not in batch:\n            batch[one.key] = one",
        ("tests/store/test_journal.py",),
    ),
    Guard(
        "keys are of one workspace",
        "quartermaster/store/journal.py",
        'f" where workspace = ? and entry_id in',
        'f" where ? > 0 and entry_id in',
        ("tests/store/test_journal.py",),
    ),
    Guard(
        "a link in the middle of a path is not followed",
        "quartermaster/recording.py",
        "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)",
        "os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)",
        ("tests/test_recording.py",),
    ),
    Guard(
        "pipes are not opened",
        "quartermaster/recording.py",
        "        _check_kind(os.stat(name, dir_fd=directory, follow_symlinks=False))\n",
        "",
        ("tests/test_recording.py",),
    ),
    Guard(
        "the bytes before the position are looked at",
        "quartermaster/recording.py",
        " or _digest(self._before) != source.tail_digest",
        "",
        ("tests/test_ingest.py", "tests/test_recording.py"),
    ),
    Guard(
        "a late result is refused",
        "quartermaster/store/runs.py",
        '" and attempt = ? and boot_id = ? and started_at = ?"',
        '" and ? is not null and ? is not null and ? is not null"',
        ("tests/store/test_runs.py",),
    ),
    Guard(
        "a run that took its process down is given up",
        "quartermaster/store/runs.py",
        "        elif run.attempt >= ATTEMPTS:",
        "        elif False:",
        ("tests/store/test_runs.py",),
    ),
    Guard(
        "workspaces take turns",
        "quartermaster/jobs.py",
        "            self._last_served = run.workspace\n",
        "",
        ("tests/test_jobs.py",),
    ),
    Guard(
        "the deadline counts sleep",
        "quartermaster/jobs.py",
        "            if self._since_boot() - job.started > self._deadline_seconds:",
        "            if False:",
        ("tests/test_jobs.py",),
    ),
    Guard(
        "the process of a run that is ended is killed",
        "quartermaster/workers.py",
        "            if not answered:\n                await worker.kill()\n",
        "",
        ("tests/test_jobs.py",),
    ),
    Guard(
        "a worker ends with its daemon",
        "quartermaster/worker.py",
        "    end_with_parent()\n",
        "",
        ("tests/test_jobs.py",),
    ),
    Guard(
        "a worker has a limit of memory",
        "quartermaster/worker.py",
        "    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))\n",
        "",
        ("tests/test_jobs.py",),
    ),
    Guard(
        "a link follows from the one before it",
        "quartermaster/store/chain.py",
        "    return sha256(before + pack(",
        "    return sha256(pack(",
        ("tests/store/test_verification.py",),
    ),
    Guard(
        "a digest holds the raw bytes",
        "quartermaster/store/chain.py",
        '    digest.update(b"".join(raws))\n',
        "",
        ("tests/store/test_verification.py",),
    ),
    Guard(
        "retention leaves a checkpoint",
        "quartermaster/store/retention.py",
        "    chain.check_out(connection, workspace, one.key)\n",
        "",
        ("tests/store/test_verification.py",),
    ),
    Guard(
        "heads are told beside the database",
        "quartermaster/store/database.py",
        "            part.rename(place)\n            self._heads = heads\n",
        "            self._heads = heads\n",
        ("tests/store/test_verification.py",),
    ),
    Guard(
        "a damaged backup is not put back",
        "quartermaster/store/backup.py",
        "    if verified.problems:\n        raise",
        "    if False:\n        raise",
        ("tests/store/test_backup.py",),
    ),
    Guard(
        "what retention removed does not come back",
        "quartermaster/store/journal.py",
        "    removed = _of_removed(connection, workspace, decoded)\n",
        "    removed = ()\n",
        ("tests/store/test_retention.py",),
    ),
)


def fails_without(guard: Guard, tree: Path) -> str:
    """`caught`, `unnoticed`, or why that cannot be said."""
    place = tree / guard.file
    source = place.read_text()
    if source.count(guard.text) != 1:
        return f"the guard is not where it was: {source.count(guard.text)} times in {guard.file}"
    place.write_text(source.replace(guard.text, guard.instead))
    try:
        return _run(guard.tests, tree)
    finally:
        place.write_text(source)


def _run(tests: tuple[str, ...], tree: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "caught"  # a test that never ends is no pass
    if done.returncode not in (0, 1):
        return f"the tests could not be run: {done.stdout[-300:]}"
    return "caught" if done.returncode else "unnoticed"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="guards with this text in their name")
    chosen = parser.parse_args()
    outcomes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="quartermaster-guards-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(
            _ROOT, tree, ignore=shutil.ignore_patterns(".git", "__pycache__", ".venv*", ".*_cache")
        )
        for guard in GUARDS:
            if chosen.only in guard.name:
                began = time.monotonic()
                outcomes[guard.name] = fails_without(guard, tree)
                print(
                    f"{outcomes[guard.name]}: {guard.name} ({time.monotonic() - began:.0f} s)",
                    file=sys.stderr,
                )
    others = {name: outcome for name, outcome in outcomes.items() if outcome != "caught"}
    print(
        json.dumps(
            {"guards": len(outcomes), "caught": len(outcomes) - len(others), "others": others}, indent=2
        )
    )
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
