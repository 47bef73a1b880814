"""Recordings to measure with: native entries of about 720 bytes, the same ones for the same seed."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

START = 1_793_527_200
"""Seconds since 1970 of the first entry."""
SECONDS_BETWEEN = 0.05
ENTRIES_IN_TRACE = 500

_TOOLS = (
    "ls -la", "pytest -q", "git status", "git diff --stat", "cat README.md", "ruff check .", "npm test",
    "grep -rn retry src", "sed -n 1,80p src/app.py", "python manage.py migrate", "make", "docker ps",
)  # fmt: skip
_STREAM_WORDS = 400_000


class _Text:
    """Words by Zipf's law; every piece is another stretch of one long stream."""

    def __init__(self, chance: random.Random) -> None:
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(6000)]
        weights = [1 / (rank + 1) for rank in range(len(words))]
        self._stream = " ".join(chance.choices(words, weights, k=_STREAM_WORDS))
        self._chance = chance

    def piece(self, length: int) -> str:
        start = int(self._chance.random() * (len(self._stream) - length))
        return self._stream[start : start + length].strip()


def _model_call(chance: random.Random) -> str:
    return (
        '"provider":"anthropic","model":"claude-sonnet-4-5"'
        f',"input_tokens":{chance.randrange(9000)},"output_tokens":{chance.randrange(900)}'
        f',"cached_input_tokens":{chance.randrange(50_000)},"cost_usd":{chance.randrange(100_000) / 1e6}'
        f',"duration_ms":{chance.randrange(9000)},"ledger_id":"cl_{chance.getrandbits(64):016x}",'
    )


def _command(chance: random.Random) -> str:
    return (
        f'"command":"{chance.choice(_TOOLS)}","exit_code":{int(chance.random() < 0.1)}'
        f',"duration_ms":{chance.randrange(5000)},'
    )


def _fixed(text: str) -> Callable[[random.Random], str]:
    return lambda chance: text


_KINDS: tuple[tuple[str, int, Callable[[random.Random], str]], ...] = (
    ("llm.call", 20, _model_call),
    ("exec.command", 22, _command),
    ("mission.status_change", 5, _fixed('"to":"in_progress",')),
    ("keeper.decision", 3, _fixed('"decision":"ALLOW","credential_id":"github",')),
    ("peer.escalation", 3, _fixed('"state":"pending",')),
    ("assignment.created", 2, _fixed("")),
    ("exec.output_chunk", 15, _fixed('"stream":"stdout",')),
    ("message.sent", 8, _fixed('"channel":"crew",')),
    ("run.agent_span", 7, _fixed('"span":"plan",')),
    ("network.request", 4, _fixed('"method":"GET","status_code":200,')),
    ("memory.write", 3, _fixed('"scope":"crew",')),
    ("file.changed", 3, _fixed('"path":"src/app.py",')),
    ("container.metrics", 3, _fixed('"cpu":0.4,"memory":123456789,')),
    ("note.added", 1, _fixed("")),
    ("agent.thought", 1, _fixed("")),
)
"""Fifteen types, their share in percent, and what their payload holds. The first six, 55 %, are steps."""


def native_lines(count: int, mission: str, seed: int = 1) -> Iterator[bytes]:
    """Entries of one mission in the order of their times, with random 64-bit ids."""
    chance = random.Random(seed)
    text = _Text(chance)
    weights = [share for _, share, _ in _KINDS]
    for start in range(0, count, ENTRIES_IN_TRACE):
        chosen = chance.choices(_KINDS, weights, k=min(ENTRIES_IN_TRACE, count - start))
        for index, (entry_type, _, payload) in enumerate(chosen, start):
            yield _line(entry_type, payload(chance), index, mission, chance, text)


def _line(
    entry_type: str, payload: str, index: int, mission: str, chance: random.Random, text: _Text
) -> bytes:
    summary = text.piece(70)
    rest = text.piece(367 - len(payload) + chance.randrange(-120, 120))
    return (
        f'{{"id":"j_{chance.getrandbits(64):016x}","workspace_id":"local","mission_id":"{mission}"'
        f',"ts":"{_time(index)}","entry_type":"{entry_type}","severity":"info","priority":"normal"'
        f',"actor_type":"agent","actor_id":"agent-{chance.randrange(4)}","crew_id":"crew-1"'
        f',"trace_id":"run-{index // ENTRIES_IN_TRACE}","summary":"{summary}"'
        f',"payload":{{{payload}"text":"{rest}"}}}}'
    ).encode()


def _time(index: int) -> str:
    second, fraction = divmod(index * int(SECONDS_BETWEEN * 1000), 1000)
    day, second = divmod(second, 86_400)
    hour, second = divmod(second, 3600)
    minute, second = divmod(second, 60)
    return f"2026-11-{day + 1:02d}T{hour:02d}:{minute:02d}:{second:02d}.{fraction:03d}Z"


def write_recording(path: Path, count: int, mission: str, seed: int = 1) -> Path:
    """One NDJSON file of one mission."""
    with path.open("wb") as file:
        for line in native_lines(count, mission, seed):
            file.write(line + b"\n")
    return path
