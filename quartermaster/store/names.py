"""Texts that repeat, kept once and spoken of by number."""

from collections.abc import Mapping

from quartermaster.core.trajectory import key_of
from quartermaster.store.database import Connection


class Texts(dict[int | None, str | None]):
    """Number -> text, read when first asked for. None stands for no text."""

    def __init__(self, connection: Connection) -> None:
        super().__init__({None: None})
        self._connection = connection

    def __missing__(self, number: int | None) -> str | None:
        row = self._connection.execute("select text from name where id = ?", (number,)).fetchone()
        text = self[number] = row[0] if row else None
        return text


def find_name(connection: Connection, text: str) -> int | None:
    """The number of a text, or None when nothing stored carries it."""
    row = connection.execute("select id from name where digest = ?", (key_of(text),)).fetchone()
    return row[0] if row else None


class Numbers(dict[str, int]):
    """Text -> number for one batch; a text that is new is stored when it is first asked for.

    `known` are numbers of earlier commits; `added` are those that this batch looked up or stored, to be
    remembered once it is committed.
    """

    def __init__(self, connection: Connection, known: Mapping[str, int]) -> None:
        super().__init__()
        self._connection = connection
        self._known = known
        self.added: dict[str, int] = {}

    def __missing__(self, text: str) -> int:
        number = self._known.get(text)
        if number is None:
            number = self.added[text] = self._stored(text)
        self[text] = number
        return number

    def _stored(self, text: str) -> int:
        number = find_name(self._connection, text)
        if number is not None:
            return number
        inserted = self._connection.execute(
            "insert into name (digest, text) values (?, ?) returning id", (key_of(text), _storable(text))
        )
        return int(inserted.fetchone()[0])


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if _has_surrogate(text) else text


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
