"""Test suites and cases where they stand in a file of JUnit XML, which may be cut off or broken.

Cases are found by their tags and parsed one by one, so that a broken one costs itself. A document type
declaration is refused: without one there are no entities to expand and nothing to fetch.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from xml.parsers import expat

from quartermaster.adapters import RejectedLine
from quartermaster.errors import Rejected

_TAG: Final = re.compile(
    rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)|(?P<declares><!(?:DOCTYPE|ENTITY))"
    rb"|<(?P<ends>/?)(?P<name>testsuites?|testcase|property)(?=[\s/>])"
    rb"(?:(?:\"[^\"<]*+\"|'[^'<]*+'|[^<>\"'/]++|/(?!>))*+(?P<empty>/?)>)?+",
    re.DOTALL | re.IGNORECASE,
)
_ENCODING: Final = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z][\w.-]{0,39})[\"']")
_NO_CHARACTERS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_TEXT_LIMIT: Final = 100_000


class Element(NamedTuple):
    """A child of a test case, or one of its properties, with the text in it."""

    name: str
    attributes: Mapping[str, str]
    text: str


class Suite(NamedTuple):
    """The attributes of a test suite and of those around it, outermost first, and what stands in it."""

    attributes: tuple[Mapping[str, str], ...]
    properties: dict[str, str]


class Case(NamedTuple):
    attributes: Mapping[str, str]
    elements: tuple[Element, ...]
    suite: Suite


def read_cases(document: bytes) -> Iterator[Case | RejectedLine]:
    """The test cases of a document in order, and what of it was not readable."""
    declared = _ENCODING.search(document[:400])
    return _Reading(document, declared[1].decode() if declared else None).cases()


class _Reading:
    def __init__(self, document: bytes, encoding: str | None) -> None:
        self._document = document
        self._encoding = encoding
        self._suites: list[Suite] = []
        self._begin: int | None = None
        self._told_until = 0

    def cases(self) -> Iterator[Case | RejectedLine]:
        for tag in _TAG.finditer(self._document):
            if tag["declares"]:
                rest = len(self._document) - tag.start()
                yield RejectedLine(tag.start(), rest, "a document type declaration is not read")
                return
            name = (tag["name"] or b"").lower()
            if name == b"testcase":
                yield from self._at_case(tag)
            elif name in (b"testsuite", b"testsuites"):
                self._at_suite(tag)
            elif name == b"property" and self._begin is None and self._suites:
                self._at_property(tag)
        yield from self._at_end()

    def _at_case(self, tag: re.Match[bytes]) -> Iterator[Case | RejectedLine]:
        if tag["ends"]:
            begin, self._begin = self._begin, None
            yield self._parsed(self._told_until if begin is None else begin, tag.end())
            return
        if self._begin is not None:
            yield self._refused(self._begin, tag.start(), "the test case has no end")
            self._begin = None
        if tag["empty"]:
            yield self._parsed(tag.start(), tag.end())
        else:
            self._begin = tag.start()

    def _at_suite(self, tag: re.Match[bytes]) -> None:
        self._told_until = tag.end()
        if tag["ends"]:
            del self._suites[-1:]
            return
        attributes = self._attributes_of(tag)
        outer = self._suites[-1].attributes if self._suites else ()
        if not tag["empty"]:
            self._suites.append(Suite((*outer, attributes), {}))

    def _at_property(self, tag: re.Match[bytes]) -> None:
        told = self._attributes_of(tag)
        if "name" in told and "value" in told:
            self._suites[-1].properties[told["name"]] = told["value"]

    def _at_end(self) -> Iterator[RejectedLine]:
        """Nothing is said of a file that was cut off inside of a case but that case."""
        whole = len(self._document)
        if self._begin is not None:
            yield self._refused(self._begin, whole, "the document ends too early")
        elif self._suites and whole:
            begin = min(self._told_until, whole - 1)
            yield RejectedLine(begin, whole - begin, "the document ends too early")

    def _attributes_of(self, tag: re.Match[bytes]) -> Mapping[str, str]:
        text = tag.group() if tag["empty"] else tag.group().removesuffix(b">") + b"/>"
        try:
            return _elements(text, self._encoding)[0].attributes
        except Rejected:
            return {}

    def _parsed(self, begin: int, end: int) -> Case | RejectedLine:
        text = self._document[begin:end]
        self._told_until = end
        try:
            first, *others = _elements(text, self._encoding)
        except Rejected as rejected:
            return RejectedLine(begin, end - begin, str(rejected))
        suite = self._suites[-1] if self._suites else Suite((), {})
        return Case(first.attributes, tuple(others), suite)

    def _refused(self, begin: int, end: int, reason: str) -> RejectedLine:
        self._told_until = end
        return RejectedLine(begin, end - begin, reason)


def _elements(text: bytes, encoding: str | None) -> list[Element]:
    """The outermost element first, then those inside, in the order of their ends; raises Rejected."""
    try:
        return _parse(text, encoding)
    except (expat.ExpatError, LookupError, ValueError) as error:
        reason = f"not readable as XML: {error}"
    mended = _NO_CHARACTERS.sub(b"?", text)
    if encoding is None or encoding.lower() in ("utf-8", "us-ascii"):
        mended = mended.decode("utf-8", "replace").encode()
    if mended != text:
        try:
            return _parse(mended, encoding)
        except (expat.ExpatError, LookupError, ValueError):
            pass
    raise Rejected(reason)


def _parse(text: bytes, encoding: str | None) -> list[Element]:
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    open_elements: list[tuple[str, dict[str, str], list[str]]] = []
    found: list[Element] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        open_elements.append((name, attributes, []))

    def characters(data: str) -> None:
        open_elements[-1][2].append(data[:_TEXT_LIMIT])

    def end(name: str) -> None:
        _, attributes, texts = open_elements.pop()
        found.append(Element(name, attributes, "".join(texts)))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    parser.Parse(text, True)
    return [found[-1], *found[:-1]]
