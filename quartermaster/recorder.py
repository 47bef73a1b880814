"""Records missions of one's own: native journal entries, a file a mission.

Each entry is on the disk when its call returns; a program that dies leaves what it did until then.
"""

import os
import secrets
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import msgspec

from quartermaster.core.journal import format_instant, minted_id
from quartermaster.errors import UsageError

Outcome = Literal["succeeded", "failed", "aborted", "timed_out", "limit_reached"]

_LONGEST_NAME: Final = 150


class Recorder:
    """One mission while it goes on. As a context manager it ends the mission: `failed` where an error
    leaves the block and nobody told an outcome, `aborted` where the user interrupted it."""

    def __init__(self, folder: Path, mission_id: str, facts: Mapping[str, Any]) -> None:
        self.mission_id = mission_id
        self.path = folder / f"{_file_name(mission_id)}.ndjson"
        self.told: Outcome | None = None
        self._last = 0
        self._nonce = secrets.token_hex(8)
        self._count = 0
        self._ended = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
        self.entry("mission.created", **facts)
        self.entry("mission.status_change", to_status="in_progress")

    @property
    def open(self) -> bool:
        """Whether more can be added."""
        return not self._ended

    def model_call(
        self,
        model: str,
        *,
        provider: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cost_usd: float | None = None,
        duration_ms: int | None = None,
        finish_reason: str | None = None,
    ) -> None:
        """A call of a model. `input_tokens` are without those that a cache gave."""
        self.entry(
            "llm.call",
            model=model,
            provider=provider,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read_tokens,
            cost_usd=cost_usd,
            duration_ms=duration_ms,
            finish_reason=finish_reason,
        )

    def tool_call(
        self,
        tool: str,
        arguments: Any = None,
        *,
        output: str | None = None,
        error: str | None = None,
        exit_code: int | None = None,
        duration_ms: int | None = None,
    ) -> None:
        """A call of a tool; it failed where there is an `error` or an exit code other than 0."""
        self.entry(
            "exec.command",
            tool=tool,
            arguments=arguments,
            output=output,
            error=error,
            exit_code=exit_code,
            duration_ms=duration_ms,
        )

    def message(self, text: str, *, role: Literal["user", "assistant"] = "assistant") -> None:
        """What somebody said."""
        self.entry(f"message.{role}", text=text)

    def entry(self, entry_type: str, **payload: Any) -> None:
        """An entry of any type; what is None is left out."""
        if self._ended:
            raise UsageError(f"the mission {self.mission_id!r} has ended; nothing can be added to it")
        self._count += 1
        self._last = max(time.time_ns(), self._last + 1)
        document = {
            "id": minted_id(self.mission_id, self._nonce, str(self._count)),
            "mission_id": self.mission_id,
            "ts": format_instant(self._last),
            "entry_type": entry_type,
            "payload": {name: value for name, value in payload.items() if value is not None},
        }
        self._file.write(msgspec.json.encode(document, enc_hook=str) + b"\n")

    def outcome(self, outcome: Outcome, *, reward: float | None = None, origin: str = "verifier") -> None:
        """How the mission ended, and who says so. The word of a `verifier` wins over the agent's own."""
        self.told = outcome
        self.entry("mission.outcome", outcome=outcome, reward=reward, origin=origin)

    def end(self) -> None:
        """No more entries. Without an outcome it is not known whether the mission succeeded."""
        if self._ended:
            return
        reached = self.told in (None, "succeeded")
        self.entry("mission.status_change", to_status="completed" if reached else self.told)
        self._ended = True
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.told is None and not self._ended:
            self.outcome("failed" if issubclass(kind, Exception) else "aborted", origin="harness")
        self.end()


def record(
    folder: str | os.PathLike[str],
    *,
    task: str | None = None,
    variant: str | None = None,
    trial: int | None = None,
    mission_id: str | None = None,
    **facts: Any,
) -> Recorder:
    """Begin a mission that is recorded in a file of a folder; a file of the same mission is replaced.

    Further `facts` are those of `mission.created`: title, agent, model, version, commit, labels. Without
    an id the mission is named after its task and its trial.
    """
    name = mission_id or "-".join([task or "mission", *([] if trial is None else [str(trial)])])
    known = {"task": task, "variant": variant, "trial": trial, **facts}
    return Recorder(Path(folder), name, known)


def _file_name(mission_id: str) -> str:
    name = quote(mission_id, safe=" @+=,[]").lstrip(".")
    if name and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{blake2b(mission_id.encode(), digest_size=8).hexdigest()}"
