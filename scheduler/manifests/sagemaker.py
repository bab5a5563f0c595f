"""SageMaker's `ManifestFile`: one JSON array, a prefix and what is to be appended to it.

``[{"prefix": "s3://photos/2024/"}, "a.jpg", "sub/b.jpg"]`` (SageMaker API, S3DataSource). It is
read element by element; behind a cursor it is parsed anew from the beginning.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson

from scheduler.errors import RowInvalid, SourceUnreadable
from scheduler.manifests.columns import row_of
from scheduler.manifests.lines import BYTE_ORDER_MARK
from scheduler.manifests.manifest import QUOTED_CHARACTERS, ROW_BYTES
from scheduler.manifests.rows import Cursor, Item, Rejected, Skipped, unstorable

BLOCK = 2**16
_OTHER = "it begins with something else"
_NESTED = "an element holds an array or an object"


class SageMakerArray:
    """The `Grammar` of a `ManifestFile`; a row's line is its place in the array, from 1."""

    kind = "sagemaker"
    expected = 'a SageMaker manifest looks like [{"prefix": "s3://bucket/"}, "a.jpg", "b.jpg"]'

    def items(self, stream: BinaryIO, at: Cursor) -> Iterator[Item]:
        """Yield one item for each element but the prefix."""
        prefix = ""
        try:
            for number, element in enumerate(_elements(stream), start=1):
                if number == 1 and isinstance(element, dict):
                    prefix = _prefix(element)
                elif number > at["line"]:
                    cursor = {"offset": 0, "line": number, "version": at["version"]}
                    yield _item(prefix, element, number, cursor)
        except (ijson.JSONError, UnicodeDecodeError) as exc:
            raise _broken(_first_line(exc)) from exc


def _elements(stream: BinaryIO) -> Iterator[object]:
    """Yield the array's elements; an object among them may hold plain values only.

    The parser's events are taken instead of the values that it could build: those of hostile
    nesting would fill the memory before anything is to be seen of them.
    """
    bounded = _Bounded(stream)
    events = ijson.basic_parse(bounded, buf_size=BLOCK)
    if next(events)[0] != "start_array":
        raise _broken(_OTHER)
    for event, value in events:
        if event == "start_array":
            raise _broken(_NESTED)
        if event != "end_array":
            yield _flat(events) if event == "start_map" else value
            bounded.since_element = 0


def _flat(events: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Read an object of plain values, of which the beginning was seen."""
    found: dict[str, Any] = {}
    name = ""
    for event, value in events:
        if event == "end_map":
            break
        if event in ("start_map", "start_array"):
            raise _broken(_NESTED)
        if event == "map_key":
            name = value
        else:
            found[name] = value
    return found


def _broken(why: str) -> SourceUnreadable:
    reason = f"source: the SageMaker manifest is no JSON array of names: {why}"
    return SourceUnreadable(reason, field="source")


class _Bounded:
    """Hands a stream to the parser, and refuses an element that would fill the memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._begun = False
        self.since_element = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self.since_element += size
        if self.since_element > ROW_BYTES:
            raise _broken(f"an element is longer than {ROW_BYTES} bytes")
        data = self._stream.read(size)
        if data and not self._begun:
            self._begun, data = True, data.removeprefix(BYTE_ORDER_MARK)
        return data


def _prefix(element: dict[str, Any]) -> str:
    prefix = element.get("prefix")
    if not isinstance(prefix, str):
        reason = 'source: the SageMaker manifest begins with an object without a text "prefix"'
        raise SourceUnreadable(reason, field="source")
    return prefix


def _item(prefix: str, element: object, number: int, cursor: Cursor) -> Item:
    try:
        if not isinstance(element, str):
            raise RowInvalid(f"the element is no text; it is appended to the prefix {prefix!r}")
        source = prefix + element
        if unstorable(source):
            reason = "source: holds a NUL or half a character; remove it"
            raise RowInvalid(reason, field="source")
        if source.startswith("s3://") and source.endswith("/"):
            return Skipped(line=number, source=source, reason="a folder marker", cursor=cursor)
        return row_of({"source": source}, line=number, cursor=cursor)
    except RowInvalid as exc:
        text = str(element)[:QUOTED_CHARACTERS].replace("\0", "\ufffd")
        return Rejected(line=number, field=exc.field, reason=str(exc), text=text, cursor=cursor)


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0].strip()
