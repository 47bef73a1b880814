"""Do to recordings whatever programs and people do to files, kill the ingester meanwhile, and count.

Run it: python tests/faults/tail.py --rounds 8

Files are appended to in pieces, rotated, truncated, copied, replaced, made anew and moved in as folders,
with junk, lines that are too long, names that are no text, links, pipes and holes among them. The process
that reads them is the program's own `Ingester`, and is killed about every seventh step. It prints one JSON
object and exits with 1 when an entry is missing, is there twice, or came from outside of the inbox.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

_LINE_LIMIT = 1 << 18
_KILL_SHARE = 0.15
_SETTLE_SECONDS = 60.0
_STEPS = {
    "append": 30,
    "half_a_line": 15,
    "many_flushes": 10,
    "rotate": 5,
    "copy_and_truncate": 4,
    "truncate": 3,
    "save_by_editor": 5,
    "make_anew": 5,
    "move_folder_in": 3,
    "junk": 4,
    "too_long": 2,
    "name_without_text": 1,
    "touch": 3,
    "trap": 2,
}
_JUNK = (
    b"not json\n",
    b'{"id":\n',
    b"\xff\xfe\n",
    b"[" * 3000 + b"\n",
    b"{}\n",
    b"null\n",
    b"\n\n\r\n",
    b'{"id":"\\ud800"\n',
    b"\0" * 100 + b"\n",
)
_TOTALS = ("entries", "kills", "lost", "doubled", "from_outside", "waits_run_out")
_TRAPS = ("link", "link_to_folder", "pipe", "hole", "endless", "folder", "loop")
_INGESTER = """
import sys, anyio
from pathlib import Path
from quartermaster.inbox import Ingester
from quartermaster.store import access
from quartermaster.store.database import Database

home = Path(sys.argv[1])
database = Database(home / "quartermaster.db")
if not database.look_up(access.list_workspaces):
    database.write_blocking(lambda c: access.first_start(c, now=1, secret_bytes=b"s" * access.SECRET_BYTES))
anyio.run(Ingester(database, home / "inbox", scan_seconds=0.3, line_limit_bytes=int(sys.argv[2])).run)
"""


class Files:
    """What happens to the files of an inbox, and which entries they told of."""

    def __init__(self, inbox: Path, outside: Path, choice: random.Random) -> None:
        self.inbox = inbox
        self.told: set[str] = set()
        self.steps: Counter[str] = Counter()
        self._outside = outside
        self._choice = choice
        self._count = 0
        self._half: dict[Path, bytes] = {}

    def step(self, wait: Callable[[], None]) -> None:
        """One thing that happens. `wait` returns when all that is whole was read: who destroys what nobody
        has read yet has destroyed it."""
        name = self._choice.choices(list(_STEPS), list(_STEPS.values()))[0]
        path = self._pick()
        if name in ("rotate", "copy_and_truncate", "truncate", "save_by_editor", "make_anew", "touch"):
            if not path.exists():
                return
            self._finish(path)
            if name not in ("rotate", "touch"):
                wait()
        self.steps[name] += 1
        getattr(self, f"_{name}")(path)

    def finish(self) -> None:
        for path in list(self._half):
            self._finish(path)

    def half_told(self) -> set[str]:
        """Entries whose last bytes are not written yet."""
        return {
            json.loads(path.read_bytes().rsplit(b"\n", 1)[-1] + rest)["id"]
            for path, rest in self._half.items()
        }

    def _pick(self) -> Path:
        files = [
            path for path in sorted(self.inbox.rglob("*.jsonl")) if path.is_file() and not path.is_symlink()
        ]
        files = [
            path for path in files if not path.name.startswith("trap") and b"\xff" not in os.fsencode(path)
        ]
        if files and self._choice.random() < 0.9:
            return self._choice.choice(files)
        return self.inbox / f"f{self._choice.randint(0, 5)}.jsonl"

    def _line(self) -> bytes:
        self._count += 1
        entry_id = f"r{self._count}"
        self.told.add(entry_id)
        entry = {
            "id": entry_id,
            "mission_id": f"m{self._count % 7}",
            "ts": "2027-01-01T00:00:00Z",
            "entry_type": "note",
            "summary": "x" * self._choice.randint(0, 400),
        }
        return json.dumps(entry).encode() + b"\n"

    def _add(self, path: Path, data: bytes) -> None:
        self._finish(path)
        with path.open("ab") as file:
            file.write(data)

    def _finish(self, path: Path) -> None:
        rest = self._half.pop(path, None)
        if rest is not None:
            with path.open("ab") as file:
                file.write(rest)

    def _append(self, path: Path) -> None:
        self._add(path, b"".join(self._line() for _ in range(self._choice.randint(1, 40))))

    def _half_a_line(self, path: Path) -> None:
        line = self._line()
        cut = self._choice.randint(1, len(line) - 1)
        self._add(path, line[:cut])
        self._half[path] = line[cut:]

    def _many_flushes(self, path: Path) -> None:
        self._finish(path)
        with path.open("ab", buffering=0) as file:
            for _ in range(self._choice.randint(5, 30)):
                line = self._line()
                cut = self._choice.randint(1, len(line))
                file.write(line[:cut])
                file.write(line[cut:])

    def _rotate(self, path: Path) -> None:
        path.rename(path.with_name(f"{path.name}.{self._count}"))
        self._add(path, self._line())

    def _copy_and_truncate(self, path: Path) -> None:
        shutil.copyfile(path, path.with_name(f"{path.name}.{self._count}"))
        os.truncate(path, 0)
        self._add(path, self._line())

    def _truncate(self, path: Path) -> None:
        os.truncate(path, 0)
        if self._choice.random() < 0.5:
            self._add(path, self._line())

    def _save_by_editor(self, path: Path) -> None:
        saved = path.with_name(path.name + ".tmp")
        saved.write_bytes(path.read_bytes() + self._line())
        saved.replace(path)

    def _make_anew(self, path: Path) -> None:
        path.unlink()
        self._add(path, self._line())

    def _move_folder_in(self, path: Path) -> None:
        folder = self._outside / f"d{self._count}"
        (folder / "sub").mkdir(parents=True)
        for number in range(3):
            (folder / f"sub/m{number}.jsonl").write_bytes(self._line())
        folder.rename(self.inbox / folder.name)

    def _junk(self, path: Path) -> None:
        self._add(path, self._choice.choice(_JUNK))

    def _too_long(self, path: Path) -> None:
        length = 2 * _LINE_LIMIT + self._choice.randint(0, 1000)
        self._add(path, b'{"x":"' + b"y" * length + b'"}\n' + self._line())

    def _name_without_text(self, path: Path) -> None:
        name = os.fsencode(path.parent) + b"/bad\xff\n%d.jsonl" % self._count
        with open(name, "ab") as file:
            file.write(self._line())

    def _touch(self, path: Path) -> None:
        os.utime(path)

    def _trap(self, path: Path) -> None:
        """Nothing may come in from outside, and nothing may block."""
        self._count += 1
        secret = self._outside / f"secret{self._count}.jsonl"
        secret.write_text(
            json.dumps({"id": f"FORBIDDEN-{self._count}", "ts": "2027-01-01T00:00:00Z", "entry_type": "note"})
            + "\n"
        )
        trap = self.inbox / f"trap{self._count}.jsonl"
        match self._choice.choice(_TRAPS):
            case "link":
                trap.symlink_to(secret)
            case "link_to_folder":
                trap.with_suffix("").symlink_to(self._outside)
            case "pipe":
                os.mkfifo(trap)
            case "hole":
                trap.touch()
                os.truncate(trap, 1 << 40)
            case "endless":
                trap.symlink_to("/dev/zero")
            case "folder":
                trap.mkdir()
            case "loop":
                trap.symlink_to(trap)


class Round:
    """One inbox, and the process that reads it and is killed."""

    def __init__(self, folder: Path, choice: random.Random) -> None:
        self.kills = 0
        self.waits_run_out = 0
        """How often files were destroyed although not all of them had been read: what is lost then may be
        the fault of a machine that gave the reader no time."""
        self.folder = folder
        (folder / "home/inbox/local").mkdir(parents=True)
        (folder / "outside").mkdir()
        self.files = Files(folder / "home/inbox/local", folder / "outside", choice)
        self._choice = choice
        self._process = self._launch()

    def endure(self, steps: int) -> dict[str, int]:
        """So many things happen; how often each entry is there in the end."""
        try:
            for _ in range(steps):
                self.files.step(self._wait)
                if self._choice.random() < 0.3:
                    time.sleep(self._choice.random() * 0.03)
                if self._choice.random() < _KILL_SHARE:
                    self._kill()
                    self.kills += 1
                    self._process = self._launch()
            self.files.finish()
            self._wait()
            time.sleep(0.5)
        finally:
            self._kill()
        return self._kept()

    def _launch(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _INGESTER, str(self.folder / "home"), str(_LINE_LIMIT)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + _SETTLE_SECONDS
        awaited = self.files.told - self.files.half_told()
        while awaited - self._kept().keys():
            if time.monotonic() > until:
                self.waits_run_out += 1
                return
            time.sleep(0.05)

    def _kept(self) -> dict[str, int]:
        database = f"file:{self.folder}/home/quartermaster.db?mode=ro"
        try:
            with closing(sqlite3.connect(database, uri=True, timeout=5)) as connection:
                rows = connection.execute(
                    "select entry_id, count(*) from entry where typeof(entry_id) = 'text' group by entry_id"
                )
                return dict(rows.fetchall())
        except sqlite3.OperationalError:  # not made yet
            return {}


def run(*, rounds: int, seed: int, steps: int = 150) -> dict[str, Any]:
    """Endure as often as that; the figures."""
    began = time.monotonic()
    totals: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    examples: list[str] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="quartermaster-tail-") as name:
            one = Round(Path(name), random.Random(seed * 1000 + number))
            kept = one.endure(steps)
            lost = sorted(one.files.told - kept.keys())
            foreign = sorted(kept.keys() - one.files.told)
            doubled = {entry_id: times for entry_id, times in kept.items() if times > 1}
            totals.update(
                entries=len(one.files.told),
                kills=one.kills,
                lost=len(lost),
                doubled=len(doubled),
                from_outside=len(foreign),
                waits_run_out=one.waits_run_out,
            )
            happened.update(one.files.steps)
            examples += [
                f"round {number}: {what}" for what in (*lost[:3], *foreign[:3], *sorted(doubled)[:3])
            ]
    return {
        "rounds": rounds,
        "seed": seed,
        **{key: totals[key] for key in _TOTALS},
        "examples": examples[:20],
        "steps": dict(sorted(happened.items())),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    figures = run(rounds=chosen.rounds, seed=chosen.seed, steps=chosen.steps)
    print(json.dumps(figures, indent=2))
    return 1 if figures["lost"] or figures["doubled"] or figures["from_outside"] else 0


if __name__ == "__main__":
    sys.exit(main())
