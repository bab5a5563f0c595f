"""``data:`` URIs (RFC 2397): a file within a request."""

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from scheduler.errors import FileRefused, ObjectTooLarge
from scheduler.files.names import safe_type

SCHEME = "data:"


@dataclass(frozen=True, kw_only=True)
class Inline:
    """What a data URI holds."""

    content_type: str
    data: bytes


def is_data_uri(text: str) -> bool:
    """Whether a text claims to be a data URI."""
    return text[: len(SCHEME)].lower() == SCHEME


def parse(text: str, *, field: str, max_bytes: int) -> Inline:
    """Decode a data URI.

    Args:
        text: The URI.
        field: The request's field, for the message.
        max_bytes: Refuse more, before decoding them.

    Raises:
        FileRefused: It has no comma, is no base64, or is empty.
        ObjectTooLarge: It holds more than `max_bytes`.
    """
    head, comma, body = text[len(SCHEME) :].partition(",")
    if not comma:
        reason = f"{field}: a data URI is written data:TYPE;base64,DATA; this one has no comma"
        raise FileRefused(reason, field=field)
    is_base64 = head.lower().endswith(";base64")
    if len(body) > (max_bytes * 4 // 3 + 4 if is_base64 else max_bytes * 3):
        raise _too_large(field, max_bytes)
    data = _decoded(body, field) if is_base64 else unquote_to_bytes(body)
    if not data:
        raise FileRefused(f"{field}: the data URI holds no bytes", field=field)
    if len(data) > max_bytes:
        raise _too_large(field, max_bytes)
    return Inline(content_type=safe_type(head), data=data)


def spelt(data: bytes, content_type: str) -> str:
    """Return bytes as a data URI."""
    return f"{SCHEME}{content_type};base64,{base64.b64encode(data).decode()}"


def _decoded(body: str, field: str) -> bytes:
    """Read base64 in its strict form, or percent-encoded, with or without padding."""
    try:
        plain = unquote_to_bytes(body) if "%" in body else body.encode("ascii")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise FileRefused(f"{field}: the data URI is no valid base64: {exc}", field=field) from exc


def _too_large(field: str, max_bytes: int) -> ObjectTooLarge:
    reason = f"{field}: the data URI holds more than {max_bytes:,} bytes, the limit; upload smaller"
    return ObjectTooLarge(reason, field=field)
