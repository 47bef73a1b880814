"""The page is served whole, under addresses that change with its content, and to everybody."""

import re
from collections.abc import Iterator

import pytest
from api_world import World
from litestar import Litestar
from litestar.testing import TestClient

from quartermaster.api.page import page


@pytest.fixture
def client(world: World) -> Iterator[TestClient[Litestar]]:
    with world.client() as opened:
        opened.headers.clear()
        yield opened


def test_the_document_names_files_that_are_there_and_holds_no_script_of_its_own(
    client: TestClient[Litestar],
) -> None:
    document = client.get("/").text
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', document)
    assert len(named) >= 5
    assert {client.get(address).status_code for address in named} == {200}
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", document)


def test_an_unchanged_document_is_not_sent_again(client: TestClient[Litestar]) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    policy = "content-security-policy"
    assert again.headers[policy] == first.headers[policy]
    assert "script-src 'self'" in again.headers[policy]
    assert client.get("/", headers={"If-None-Match": '"older"'}).status_code == 200


def test_files_of_another_version_and_what_lies_outside_are_not_found(client: TestClient[Litestar]) -> None:
    version = page().version
    for address in (
        "/static/0000000000000000/app.js",
        f"/static/{version}/index.html",
        f"/static/{version}/none.js",
        f"/static/{version}/../api/page.py",
        f"/static/{version}/%2e%2e/api/page.py",
        f"/static/{version}//etc/passwd",
    ):
        assert client.get(address).status_code == 404, address


def test_every_module_that_is_imported_is_there(client: TestClient[Litestar]) -> None:
    files = page().files
    for name, content in files.items():
        if not name.endswith(".js"):
            continue
        for imported in re.findall(r'(?:from|import)\s*\(?"(\.[^"]+)"', content.decode()):
            parts = name.split("/")[:-1]
            for part in imported.split("/"):
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            assert "/".join(parts) in files, f"{name} imports {imported}"


def test_the_page_is_small_and_asks_no_other_host(client: TestClient[Litestar]) -> None:
    """All files together, as a browser is sent them: 150 KB is the promise."""
    prefix = f"/static/{page().version}/"
    sent = sum(
        int(client.get(address, headers={"Accept-Encoding": "gzip"}).headers["content-length"])
        for address in ("/", *(prefix + name for name in page().files))
    )
    raw = sum(len(content) for content in (page().document, *page().files.values()))
    print(f"all files of the page: {sent / 1000:.1f} KB as they are sent, {raw / 1000:.1f} KB unpacked")
    assert sent < 150_000
    for name, content in page().files.items():
        assert not re.search(rb"https?://(?!www\.w3\.org/)", content), name


def test_traces_never_become_markup() -> None:
    forbidden = re.compile(
        rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    )
    for name, content in page().files.items():
        assert not forbidden.search(content), name
