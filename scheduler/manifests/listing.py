"""Folders and ``s3://`` prefixes: every image below them, in the order of the names' bytes.

A listing shows what is there while it runs. An object that appears behind the reader is read, one
that appears before it is not, and neither is a fault: the next submit has another `version`.
"""

import hashlib
from collections.abc import Iterator
from urllib.parse import quote, unquote

from scheduler.errors import ObjectMissing, SourceUnreadable
from scheduler.manifests.globs import Globs
from scheduler.manifests.rows import Cursor, Item, Rejected, Row, Skipped, unstorable
from scheduler.storage import Address, ObjectInfo, Storage, parse_address


class Listing:
    """The `Source` of a folder or prefix.

    Args:
        storage: Where it is listed.
        folder: The folder or prefix, with its slash.
        globs: Which names are meant.
        destination: Where the results go. If that is a folder inside of the listed one, nothing
            in it is a source, or a second run would enlarge the results of the first.
    """

    kind = "listing"

    def __init__(
        self, storage: Storage, folder: Address, globs: Globs, *, destination: Address | None
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._globs = globs
        self._results: str | None = None
        if destination is not None and destination.relative_to(folder) is not None:
            self._results = str(destination.folder())

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder itself."""
        return (str(self._folder),)

    def version(self) -> str:
        """Return a digest of every image's name, size and ETag; this lists the folder once."""
        found = hashlib.sha256()
        for _, info in self._meant(None):
            found.update(f"{info.address}\n{info.size}\n{info.etag}\n".encode())
        return f"listing:{found.hexdigest()}"

    def check(self) -> None:
        """Refuse a folder that is not there or has no image."""
        for line, info in self._meant(None):
            if not isinstance(self._item(line, info), Skipped):
                return
        reason = (
            f"source: no images below {self._folder} (looked for {self._globs}); "
            "check the path, or say what is an image with --include"
        )
        raise SourceUnreadable(reason, field="source")

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield one item for each object that is meant."""
        for line, info in self._meant(cursor):
            yield self._item(line, info)

    def _meant(self, cursor: Cursor | None) -> Iterator[tuple[int, ObjectInfo]]:
        """Number the objects that are meant, from the one behind `cursor` on."""
        line = 0 if cursor is None else cursor["line"]
        try:
            for info in self._storage.list(str(self._folder), after=_after(cursor)):
                if self._is_meant(info):
                    line += 1
                    yield line, info
        except ObjectMissing as exc:
            reason = f"source: {exc}"
            raise SourceUnreadable(reason, field="source") from exc

    def _is_meant(self, info: ObjectInfo) -> bool:
        if self._results is not None and info.address.startswith(self._results):
            return False
        relative = parse_address(info.address).relative_to(self._folder)
        if relative is None:
            return False  # The marker of the listed folder itself.
        return relative.endswith("/") or self._globs.match(relative)

    def _item(self, line: int, info: ObjectInfo) -> Item:
        # Encoded, since a key may hold what JSON in a database can't.
        cursor = {"after": quote(info.address), "line": line}
        if unstorable(info.address):
            return _unnameable(line, info, cursor)
        if why := _no_image(info):
            return Skipped(line=line, source=info.address, reason=why, cursor=cursor)
        return Row(line=line, source=info.address, cursor=cursor)


def _after(cursor: Cursor | None) -> str | None:
    return None if cursor is None else unquote(cursor["after"])


def _no_image(info: ObjectInfo) -> str | None:
    """Say why an S3 object is no image, if its name or size tells.

    An empty file in a folder is no marker of anything: it becomes a job, which says that it is
    empty.
    """
    if info.address.startswith("s3://"):
        if info.address.endswith("/"):
            return "a folder marker"
        if info.size == 0:
            return "an empty object"
    return None


def _unnameable(line: int, info: ObjectInfo, cursor: Cursor) -> Rejected:
    """Reject a key with a NUL, which the ledger can't hold."""
    return Rejected(
        line=line,
        field="source",
        reason="source: the key holds a NUL character; rename the object",
        text=info.address.replace("\0", "\ufffd"),
        cursor=cursor,
    )
