"""The page for people: one document, and files whose address changes with their content."""

import gzip
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec
from litestar import get
from litestar.params import FromPath

from quartermaster.api.access import PUBLIC, Call
from quartermaster.api.answers import Answer
from quartermaster.api.edge import fields_of
from quartermaster.api.problems import not_found

_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_DOCUMENT: Final = "index.html"
_FOREVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The document, and every other file by its name. `version` is a digest of them all."""

    version: str
    document: bytes
    files: Mapping[str, bytes]


@cache
def page() -> Page:
    """The files of the page, read once."""
    found = dict(_files_below(files("quartermaster") / "web"))
    digest = sha256()
    for name in sorted(found):
        digest.update(b"%d:%s:%d:" % (len(name), name.encode(), len(found[name])) + found[name])
    version = digest.hexdigest()[:16]
    document = found.pop(_DOCUMENT).replace(b"{static}", b"/static/" + version.encode())
    return Page(version=version, document=document, files=found)


def _files_below(folder: Traversable, before: str = "") -> Iterator[tuple[str, bytes]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files_below(one, f"{before}{one.name}/")
        elif one.name.rpartition(".")[2] in _MEDIA_TYPES:
            yield before + one.name, one.read_bytes()


@get("/", opt={"role": PUBLIC}, include_in_schema=False)
async def show_document(request: Call) -> Answer:
    """The document. It holds nothing of anybody: what it shows, it asks the API for."""
    return _answer(request, _DOCUMENT, page().document, _ASK_AGAIN)


@get("/static/{version:str}/{name:path}", opt={"role": PUBLIC}, include_in_schema=False)
async def show_file(request: Call, version: FromPath[str], name: FromPath[str]) -> Answer:
    """One file of this version of the page; a file of another version is not found."""
    name = name.lstrip("/")
    content = page().files.get(name) if version == page().version else None
    if content is None:
        raise not_found("file")
    return _answer(request, name, content, _FOREVER)


def _answer(request: Call, name: str, content: bytes, caching: str) -> Answer:
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    headers = {"ETag": f'"{page().version}"', "Cache-Control": caching, "Vary": "Accept-Encoding"}
    fields = fields_of(request.scope)
    if fields.get(b"if-none-match") == headers["ETag"].encode():
        # With its type, so that it is protected as the page that it stands for: browsers take the headers.
        return Answer(304, headers={**headers, "Content-Type": media_type})
    if b"gzip" in fields.get(b"accept-encoding", b""):
        headers["Content-Encoding"] = "gzip"
        content = _zipped(content)
    return Answer(200, content, media_type=media_type, headers=headers)


@cache
def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
