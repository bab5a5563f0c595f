"""What a reader of sources yields, and the interface that every kind of source offers."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

Cursor: TypeAlias = dict[str, Any]
"""Where a reader stands, ready for JSON. Each kind of source has its own; nobody else looks in."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".avif",
)
"""What a folder is searched for, in either case of letters."""


class Row(NamedTuple):
    """One image to enlarge. (Tuples, since there are millions of them.)

    Attributes:
        line: The line of the manifest, or the how-manieth entry of a listing, from 1.
        source: The image's address.
        cursor: Reading from here goes on with the next row.
        version: The version to read, in a bucket that keeps versions; None for the newest.
        alternative: Another reading of the source, where the manifest leaves it in doubt: tried
            once if nothing is stored under `source`.
        destination: Where the row wants its result: an address, or a path below the batch's
            destination; None for the batch's own naming.
        custom_id: The row's own id; nobody checks that it is unique.
        arguments: The row's arguments for the endpoint, over those of the batch.
        passthrough: Further columns, carried into the results.
        object: What stands for the image's version, where a trigger must not take it twice.
    """

    line: int
    source: str
    cursor: Cursor
    version: str | None = None
    alternative: str | None = None
    destination: str | None = None
    custom_id: str | None = None
    arguments: Mapping[str, Any] = NOTHING
    passthrough: Mapping[str, Any] = NOTHING
    object: UUID | None = None


class Rejected(NamedTuple):
    """One row that can't become a job.

    Attributes:
        line: As for `Row`.
        field: The column at fault; None where the line as a whole is.
        reason: What is wrong, for people.
        text: The line, or the first thousand characters of it.
        cursor: As for `Row`.
    """

    line: int
    field: str | None
    reason: str
    text: str
    cursor: Cursor


class Skipped(NamedTuple):
    """An entry of a listing that holds no image and is no fault either, such as a folder marker.

    Attributes:
        line: As for `Row`.
        source: The entry's address.
        reason: Why it is passed over.
        cursor: As for `Row`.
    """

    line: int
    source: str
    reason: str
    cursor: Cursor


Item: TypeAlias = Row | Rejected | Skipped


class Source(Protocol):
    """Where the rows of a batch come from."""

    @property
    def kind(self) -> str:
        """The name of its reader, as in the table of `scheduler.manifests.kinds`."""
        ...

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders that the names of results are relative to, for `Naming`."""
        ...

    def version(self) -> str:
        """Return what identifies the content, so that the same batch is not submitted twice.

        Equal for equal content. May read a local manifest, or list a folder, to its end.
        """
        ...

    def check(self) -> None:
        """Look at the beginning, before anything is queued.

        Raises:
            SourceUnreadable: There is nothing to read, or it is no manifest.
        """
        ...

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield what is behind `cursor` (None: everything), in constant memory.

        Raises:
            SourceUnreadable: The content is not the one that the cursor belongs to, or it was
                changed meanwhile.
            StorageUnavailable: The store does not answer; reading can go on at the last cursor.
        """
        ...


def unstorable(text: str) -> bool:
    """Whether a text holds what no database column and no JSON file can: NUL, half a character."""
    if text.isascii():
        return "\0" in text
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
