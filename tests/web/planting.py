"""Samples of every format with a hostile text in every field that can hold one without losing the record.

Which fields those are is not written down: a text is put in, and stays where the format still tells the
same entries of it.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from quartermaster.adapters import Adapter, Record, adapter_named, recognise
from quartermaster.core.journal import read_entry
from quartermaster.errors import Rejected

HEAD = 256 * 1024
Fields = frozenset[str]
Render = Callable[[Fields, Callable[[str], str]], bytes]

_NOT_IN_XML = re.compile("[\x00-\x08\x0b-\x1f]")


def planted(path: Path, texts: tuple[str, ...]) -> tuple[bytes, Fields]:
    """The sample with texts in its fields, and which fields those are."""
    data = path.read_bytes()
    adapter = adapter_named(path.parent.name)
    assert adapter is not None, path
    fields, render = _fields_of(path, data)
    wanted = _told(adapter, data)

    def put(chosen: Fields) -> bytes:
        return render(chosen, _planter(texts, adapter.name))

    def holds(chosen: Fields) -> bool:
        return _told(adapter, put(chosen)) == wanted

    chosen: Fields = frozenset()
    waiting = [fields]
    while waiting:
        group = waiting.pop()
        if holds(chosen | frozenset(group)):
            chosen |= frozenset(group)
        elif len(group) > 1:
            middle = len(group) // 2
            waiting += [group[middle:], group[:middle]]
    return put(chosen), chosen


def _planter(texts: tuple[str, ...], mark: str) -> Callable[[str], str]:
    """Equal values get equal texts and others get others, so that ids go on meaning the same."""
    given: dict[str, str] = {}

    def plant(value: str) -> str:
        if value not in given:
            number = len(given)
            given[value] = f"{texts[number % len(texts)]} {mark} {number // len(texts)}"
        return given[value]

    return plant


def _told(adapter: Adapter, data: bytes) -> list[str] | None:
    """The types of entries that come of it; None where the format is not recognised or something is lost."""
    if recognise(data[:HEAD], whole=len(data) <= HEAD) is not adapter:
        return None
    types = []
    for output in _outputs(adapter, data):
        if not isinstance(output, Record):
            return None
        try:
            types.append(read_entry(output.raw).entry_type)
        except Rejected:
            return None
    return sorted(types)


def _outputs(adapter: Adapter, data: bytes) -> Iterator[Any]:
    if not adapter.line_based:
        yield from adapter.read_document(data)
        return
    reader = adapter.line_reader()
    offset = 0
    for line in data.removesuffix(b"\n").split(b"\n"):
        yield from reader.read_line(line, offset)
        offset += len(line) + 1
    yield from reader.finish()


def _fields_of(path: Path, data: bytes) -> tuple[list[str], Render]:
    if path.suffix == ".xml":
        return _of_markup(data)
    if path.suffix == ".txt":
        return _of_words(data)
    try:
        return _of_values([json.loads(data)], indent=1)
    except ValueError:
        return _of_values([json.loads(line) for line in data.splitlines() if line.strip()], indent=None)


def _of_values(values: list[Any], *, indent: int | None) -> tuple[list[str], Render]:
    def walked(value: Any, field: str, change: Callable[[str, str], str]) -> Any:
        if isinstance(value, dict):
            return {key: walked(one, f"{field}.{key}", change) for key, one in value.items()}
        if isinstance(value, list):
            return [walked(one, f"{field}[]", change) for one in value]
        return change(field, value) if isinstance(value, str) else value

    found: dict[str, None] = {}
    for value in values:
        walked(value, "", lambda field, text: found.setdefault(field, None) or text)

    def render(chosen: Fields, plant: Callable[[str], str]) -> bytes:
        def change(field: str, text: str) -> str:
            return plant(text) if field in chosen else text

        put = (json.dumps(walked(value, "", change), indent=indent) for value in values)
        return "\n".join(put).encode()

    return list(found), render


def _of_markup(data: bytes) -> tuple[list[str], Render]:
    def places(root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element, str | None]]:
        for element in root.iter():
            yield from ((f"{element.tag}@{name}", element, name) for name in element.attrib)
            if (element.text or "").strip():
                yield element.tag, element, None

    def render(chosen: Fields, plant: Callable[[str], str]) -> bytes:
        root = ElementTree.fromstring(data)
        for field, element, name in places(root):
            if field in chosen and name is None:
                element.text = _NOT_IN_XML.sub("", plant(element.text or ""))
            elif field in chosen and name is not None:
                element.set(name, _NOT_IN_XML.sub("", plant(element.attrib[name])))
        return b'<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root)

    return list(dict.fromkeys(field for field, _, _ in places(ElementTree.fromstring(data)))), render


def _of_words(data: bytes) -> tuple[list[str], Render]:
    lines = data.decode().split("\n")

    def render(chosen: Fields, plant: Callable[[str], str]) -> bytes:
        put = (
            f"{line} {plant(line)}" if str(number) in chosen else line for number, line in enumerate(lines)
        )
        return "\n".join(put).encode()

    return [str(number) for number, line in enumerate(lines) if line.strip()], render
