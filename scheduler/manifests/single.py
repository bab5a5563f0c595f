"""One image as a batch of its own."""

from collections.abc import Iterator

from scheduler.manifests.rows import Cursor, Row
from scheduler.storage import ObjectInfo, parse_address


class SingleImage:
    """The `Source` of one image.

    Args:
        info: The image.
    """

    kind = "image"

    def __init__(self, info: ObjectInfo) -> None:
        self._info = info

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder that holds the image, so that its result has just its name."""
        return (str(parse_address(self._info.address).parent()),)

    def version(self) -> str:
        """Return the image's ETag."""
        return f"etag:{self._info.etag}"

    def check(self) -> None:
        """Accept the image: it is there, and what is in it is its job's concern."""

    def rows(self, cursor: Cursor | None = None) -> Iterator[Row]:
        """Yield the one row, unless the cursor is behind it."""
        if cursor is None:
            yield Row(line=1, source=self._info.address, cursor={"line": 1})
