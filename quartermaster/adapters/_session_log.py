"""Writes the entries of one session while it is read line by line."""

from typing import Any, Final

from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    arguments_digest,
    cut,
    kept_arguments,
    one_line,
)
from quartermaster.adapters._lines import text_or_none
from quartermaster.core.journal import format_instant

_MILLISECOND_TIME: Final = len("2026-01-01T00:00:00.000Z")
_REMARKS: Final = ("description", "justification")
"""Arguments in which the model tells people what a command is for: they do not change what it does."""


class SessionLog:
    """The entries of one mission, each told once, those of one time in the order they were told.

    `facts` go onto the mission with what is learnt, once that has a title or a model (or at once, where
    `told_at_once` says that there is nothing to wait for). Texts of `label_names` become labels.
    """

    def __init__(
        self,
        mission: Mission,
        began: str,
        facts: dict[str, Any],
        *,
        label_names: tuple[str, ...] = ("cwd", "git_branch"),
        told_at_once: bool = False,
    ) -> None:
        self._mission = mission
        self._began = began
        self._constant = facts
        self._label_names = label_names
        self._facts: dict[str, str] = {}
        self._created: dict[str, str] | None = None
        self._told_at_once = told_at_once
        self._told: set[str] = set()
        self._entries: list[bytes] = []
        self._now = (began, 0)
        self._latest: tuple[str, int] | None = None
        self._ties = 0
        self._may_have_ended = False

    def now_is(self, ts: str, instant: int) -> None:
        """The time of what is told from here on."""
        if ts != self._now[0]:
            self._ties = 0
        self._now = (ts, instant)
        if self._latest is None or instant >= self._latest[1]:
            self._latest = self._now

    def stamp(self) -> str:
        """The present time; entries of one time are a nanosecond apart, which keeps their order."""
        ts, instant = self._now
        ties, self._ties = self._ties, self._ties + 1
        if not ties:
            return ts
        if len(ts) == _MILLISECOND_TIME and ts[-1] == "Z":
            return f"{ts[:-1]}{ties % 1_000_000:06d}Z"
        return format_instant(instant + ties)

    def learn(self, **facts: Any) -> None:
        """The first text of each fact is kept."""
        for name, value in facts.items():
            if name not in self._facts and type(value) is str and value:
                self._facts[name] = cut(value, TEXT_LIMIT)

    def tell(self, entry_type: str, payload: dict[str, Any], *key: str | bytes, **about: str) -> None:
        """One entry, once: lines may be repeated, and what they tell is told already."""
        entry_id = self._mission.entry_id(entry_type, *key)
        if entry_id in self._told:
            return
        self._told.add(entry_id)
        self._entries.append(self._mission.written(entry_id, self.stamp(), entry_type, payload, **about))

    def tell_text(
        self, entry_type: str, actor: str, text: str, *key: str | bytes, agent: str | None = None
    ) -> None:
        """What somebody said; a user's first words are the title. `agent` is the speaker among several."""
        if actor == "user":
            self.learn(title=one_line(text))
        payload = {"text": cut(text, TEXT_LIMIT), "agent": agent}
        self.tell(entry_type, payload, *key, summary=text, actor=actor)

    def tell_model_call(self, ts: str, payload: dict[str, Any], *key: str | bytes) -> None:
        """A model call, as often as more of it is known."""
        entry_id = self._mission.entry_id("model call", *key)
        summary = payload.get("model") or ""
        self._entries.append(self._mission.written(entry_id, ts, "llm.call", payload, summary=summary))

    def taken(self, outcome: str | None) -> list[bytes]:
        """What was told since the last time, the mission's facts last where they changed."""
        self._tell_created()
        self._may_have_ended = self._may_have_ended or outcome is not None
        entries, self._entries = self._entries, []
        return entries

    def outcome(self, outcome: str | None) -> bytes | None:
        """How the session stands. Once it may have been told an end that no longer holds, that it is open."""
        if self._latest is None or (outcome is None and not self._may_have_ended):
            return None
        payload = {"outcome": outcome, "origin": "agent"}
        entry_id = self._mission.entry_id("outcome")
        summary = f"session {outcome}" if outcome else "no end is recorded"
        return self._mission.written(entry_id, self._latest[0], "mission.outcome", payload, summary=summary)

    def _tell_created(self) -> None:
        facts = self._facts
        if facts == self._created or not (self._told_at_once or "title" in facts or "model" in facts):
            return
        self._created = facts.copy()
        labels = {name: facts[name] for name in self._label_names if name in facts}
        payload = self._constant | {
            "title": facts.get("title"),
            "model": facts.get("model"),
            "version": facts.get("version"),
            "commit": facts.get("commit"),
            "goal": facts.get("goal"),
            "labels": labels or None,
        }
        entry_id = self._mission.entry_id("created")
        about = {"summary": facts.get("title", ""), "actor": "system"}
        self._entries.append(
            self._mission.written(entry_id, self._began, "mission.created", payload, **about)
        )


def shell_arguments(line: str, arguments: dict[str, Any], *line_names: str) -> dict[str, Any]:
    """What a shell was given beside its command line, and a digest of all of it where the line is cut.

    `line_names` are the arguments that the line is read from. What the model remarked stands apart.
    """
    given = {name: value for name, value in arguments.items() if name not in _REMARKS}
    beside = {name: value for name, value in given.items() if name not in line_names}
    told = kept_arguments(beside or None)
    if len(line) > TEXT_LIMIT:
        told["arguments_digest"] = arguments_digest(given)
    remark = next((text for name in _REMARKS if (text := text_or_none(arguments.get(name)))), None)
    return told | {"description": cut(remark, TEXT_LIMIT)} if remark else told
