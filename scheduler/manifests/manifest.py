"""The `Source` of a manifest that is one file, whatever its format."""

import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Protocol

from scheduler.manifests.columns import SOURCE_MISSING
from scheduler.manifests.document import Document
from scheduler.manifests.rows import Cursor, Item, Rejected

ROW_BYTES = 2**20
"""Longest row; nothing that describes one image comes near it."""
LOOKED_AT = 100
"""Rows of which one must have a source, or the file is no manifest."""
LOOKED_AT_BYTES = 4 * ROW_BYTES
"""The same in bytes: a huge file without line ends is refused without reading it through."""
QUOTED_CHARACTERS = 1000
"""How much of a bad row its rejection shows."""


class Grammar(Protocol):
    """How one format is read.

    Attributes:
        kind: Its name, as for `Source`.
        expected: What such a manifest looks like, to end an error's sentence.
    """

    kind: str
    expected: str

    def items(self, stream: BinaryIO, at: Cursor) -> Iterator[Item]:
        """Read rows.

        Args:
            stream: The uncompressed content from byte `at["offset"]` on.
            at: Where that is: `offset` and `line`, the line before, and whatever this grammar has
                put into the cursors of its items; all of it goes into the next ones.
        """
        ...


class Manifest:
    """A manifest that is one file.

    Args:
        document: Its bytes.
        grammar: Its format.
    """

    def __init__(self, document: Document, grammar: Grammar) -> None:
        self._document = document
        self._grammar = grammar

    @property
    def kind(self) -> str:
        """The format's name."""
        return self._grammar.kind

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder that holds a local manifest; a manifest on S3 has none."""
        return self._document.roots

    def version(self) -> str:
        """Return the ETag of a manifest on S3, the SHA-256 of a local one."""
        return self._document.version()

    def check(self) -> None:
        """Refuse a file in whose first hundred rows none has a source."""
        beginning = io.BytesIO(self._document.beginning(LOOKED_AT_BYTES))
        items = self._grammar.items(beginning, _start(""))
        refuse_no_manifest(items, self._document, self._grammar.expected)

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield one item for each row."""
        version = self.version()
        at = cursor or _start(version)
        if at["version"] != version:
            raise self._document.changed()
        with self._document.reading(at["offset"]) as stream:
            yield from self._grammar.items(stream, at)


def refuse_no_manifest(items: Iterator[Item], document: Document, expected: str) -> None:
    """Refuse a file in whose first hundred rows none has a source.

    Raises:
        SourceUnreadable: It is no manifest; `expected` ends the sentence.
    """
    first: Rejected | None = None
    for item in islice(items, LOOKED_AT):
        if not isinstance(item, Rejected) or (item.field and item.reason != SOURCE_MISSING):
            return
        first = first or item
    why = f"line {first.line}: {first.reason}" if first else "it has no rows"
    raise document.unreadable(f"is no manifest: {why}; {expected}")


def _start(version: str) -> Cursor:
    return {"offset": 0, "line": 0, "version": version}


def shown(data: bytes) -> str:
    """Return as much of a bad row as its rejection shows, without what no database can hold."""
    text = data[: 4 * QUOTED_CHARACTERS].decode(errors="replace").strip()
    return text[:QUOTED_CHARACTERS].replace("\0", "\ufffd")
