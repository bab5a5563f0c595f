"""How a manifest is to be read, where its name and content don't tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

from scheduler.errors import SourceUnreadable

FORMATS = ("jsonl", "csv", "inventory", "sagemaker", "list", "parquet")
ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class Encoding(StrEnum):
    """How keys are written in a manifest."""

    URL = "url"
    """As in forms: `%20` and `+` are blanks, a plus is `%2B`. AWS writes its CSV files so."""
    RAW = "raw"
    """As they are."""
    AUTO = "auto"
    """As in forms where a `%XX` occurs, else as they are; the job tries the other reading once."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What somebody says about a manifest.

    Attributes:
        format: One of `FORMATS`; None to find out.
        fields: A CSV file's columns: `Bucket`, `Key`, `VersionId`, `Ignore`, or any other name.
        encoding: How its keys are written; None for what is usual in the format.
        comments: In a plain list, lines that begin with `#` are none.

    Raises:
        SourceUnreadable: The format is unknown, or the fields name no image.
    """

    format: str | None = None
    fields: tuple[str, ...] = ()
    encoding: Encoding | None = None
    comments: bool = False

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            reason = f"format: {self.format!r} is unknown; it is one of {', '.join(FORMATS)}"
            raise SourceUnreadable(reason, field="format")

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the default, to be kept with a batch."""
        said = {
            "format": self.format,
            "fields": list(self.fields),
            "encoding": None if self.encoding is None else str(self.encoding),
            "comments": self.comments,
        }
        return {name: value for name, value in said.items() if value}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Dialect":
        """Return what `to_json` was made of."""
        encoding = said.get("encoding")
        return cls(
            format=said.get("format"),
            fields=tuple(said.get("fields", ())),
            encoding=None if encoding is None else Encoding(encoding),
            comments=said.get("comments", False),
        )


def decoded(key: str, encoding: Encoding) -> tuple[str, str | None]:
    """Return a key as it is stored, and another reading of it where the encoding is in doubt.

    Raises:
        UnicodeDecodeError: Its escapes are no UTF-8.
    """
    if encoding == Encoding.RAW or not ("%" in key or "+" in key):
        return key, None
    if encoding == Encoding.URL:
        return unquote_plus(key, errors="strict"), None
    try:
        other = unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        return key, None
    if other == key:
        return key, None
    return (other, key) if ESCAPE.search(key) else (key, other)
