"""Names of pytest's tests: the same test is the same task in each of its reports."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

PREFIX: Final = "test/"
_REPEATED: Final = re.compile(r"(.*)([\[-])(\d{1,6})-(\d{1,6})\]", re.DOTALL)
_TRIAL: Final = re.compile(r"(?<=[\[-])trial(\d{1,6})(?=[\]-])")


class Repeat(NamedTuple):
    """One of several runs of a test: the name that they share, and the number from 1 on."""

    name: str
    number: int


class _Group(NamedTuple):
    name: str
    size: int


def dotted(node_id: str) -> str:
    """A node id as JUnit XML splits it into class and name, with a dot between them."""
    path, colons, inside = node_id.partition("::")
    plain, bracket, parameters = inside.partition("[")
    place = path.removesuffix(".py").replace("/", ".")
    return ".".join((place, *plain.split("::"))) + bracket + parameters if colons else place


def repeats_of(names: Iterable[str]) -> dict[str, Repeat]:
    """The names that repeat a test.

    `[trial2]` is a number of our own plugin. `[a-2-3]` is one of pytest-repeat where all of 1 to 3 are
    there; a test whose two parameters happen to count like that would be taken for one as well.
    """
    found: dict[str, Repeat] = {}
    counted: dict[str, tuple[_Group, int]] = {}
    for name in names:
        if numbered := _TRIAL.search(name):
            found[name] = Repeat(_without(name, numbered), int(numbered[1]))
        elif repeated := _REPEATED.fullmatch(name):
            head, mark, step, size = repeated.groups()
            counted[name] = _Group(head + "]" if mark == "-" else head, int(size)), int(step)
    steps: dict[_Group, set[int]] = {}
    for group, step in counted.values():
        steps.setdefault(group, set()).add(step)
    for name, (group, step) in counted.items():
        if group.size > 1 and len(steps[group]) == group.size == max(steps[group]):
            found[name] = Repeat(group.name, step)
    return found


def _without(name: str, numbered: re.Match[str]) -> str:
    before, after = name[: numbered.start()], name[numbered.end() :]
    joined = before.removesuffix("-") + (after if before.endswith("-") else after.removeprefix("-"))
    return joined.removesuffix("[]")
