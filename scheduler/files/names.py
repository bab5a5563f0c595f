"""Names and media types that strangers choose, made harmless before they become headers."""

import mimetypes
import re
import unicodedata
from urllib.parse import quote

NAME_CHARACTERS = 200
UNSAFE = re.compile(
    r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
"""What parts paths, ends headers, is refused by some system, or disguises a name's suffix."""
TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
UNKNOWN = "application/octet-stream"
SHOWN = frozenset(
    ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/tiff", "image/bmp")
)
"""Pictures that a browser may show; all else is only saved, since a page could hold a script."""


def safe_name(name: str, *, content_type: str) -> str:
    """Return a file name without folders, control characters or leading dots.

    Args:
        name: As a client sent it; any text, also an empty one.
        content_type: Decides about the suffix of a file without a name.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = UNSAFE.sub("_", last).strip(" .")
    if not plain:
        return "file" + (mimetypes.guess_extension(content_type) or ".bin")
    stem, dot, suffix = plain.rpartition(".")
    if len(plain) <= NAME_CHARACTERS or not dot:
        return plain[:NAME_CHARACTERS]
    return f"{stem[: NAME_CHARACTERS - 20]}.{suffix[:19]}"


def safe_type(content_type: str | None) -> str:
    """Return a media type without its parameters; an unlikely one is that of unknown bytes."""
    plain = (content_type or "").partition(";")[0].strip().lower()
    return plain if TYPE.fullmatch(plain) else UNKNOWN


def served_type(content_type: str) -> str:
    """Return the media type that a file is served with."""
    return content_type if content_type in SHOWN else UNKNOWN


def disposition(name: str, content_type: str) -> str:
    """Return a Content-Disposition header (RFC 6266): shown if it is a picture, else saved."""
    how = "inline" if content_type in SHOWN else "attachment"
    plain = re.sub(r"[^A-Za-z0-9 ._()+-]", "_", name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
