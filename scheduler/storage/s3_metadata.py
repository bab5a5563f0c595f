"""User metadata of S3 objects: HTTP headers, so ASCII and no more than 2 KB."""

from collections.abc import Mapping
from urllib.parse import quote, unquote

LIMIT = 2048
"""S3's limit for all names and values together, in bytes."""
OMITTED = "omitted"
"""Names the entries that found no room."""
RESERVED = 256
"""Kept free for `OMITTED`."""
PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def encoded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as S3 takes it.

    Values are percent-encoded where they are not printable ASCII. An entry that does not fit is
    left out whole, since half a value is worse than none, and is named under ``omitted``; so put
    what matters most first.
    """
    room = LIMIT - RESERVED
    kept: dict[str, str] = {}
    omitted: list[str] = []
    for name, value in metadata.items():
        text = _plain(value)
        size = len(name) + len(text)
        if size > room:
            omitted.append(name)
            continue
        room -= size
        kept[name] = text
    if omitted:
        kept[OMITTED] = ",".join(omitted)[: RESERVED - len(OMITTED)]
    return kept


def decoded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as it was given to `encoded`."""
    return {name: unquote(value) for name, value in metadata.items()}


def _plain(value: str) -> str:
    """Percent-encode what a header can't carry, and spaces where HTTP would trim them."""
    text = quote(value, safe=PLAIN, errors="replace")
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(inner)
    return "%20" * before + inner.replace("  ", "%20%20") + "%20" * after
