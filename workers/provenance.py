"""Where a result came from, written into the file itself and read back from it.

The form is one JSON object of strings, sorted by name: in PNG an iTXt chunk called `enlarger`, in
JPEG and WebP `{"enlarger": {...}}` as EXIF's ImageHistory, which cameras leave empty.
"""

import json
from collections.abc import Mapping
from typing import Any

from models.errors import ArgumentInvalid
from workers.exif import (
    IMAGE_HISTORY,
    Exif,
    history,
    parse,
    serialize,
    with_history,
    without_maker_note,
)
from workers.formats import open_image, png_chunks, reading, recognise

METADATA_PREFIX = "enlarger-"
"""What the names of an object's metadata begin with, where a store keeps any."""
_KEYWORD = "enlarger"
_ITXT_START = (
    _KEYWORD.encode() + b"\0\0\0\0\0"
)  # not compressed, no language, no translated keyword


def itxt(provenance: Mapping[str, str]) -> bytes:
    """Return the content of the PNG chunk."""
    return _ITXT_START + json.dumps(provenance, ensure_ascii=False, sort_keys=True).encode()


def exif_with(source: bytes | None, provenance: Mapping[str, str], *, max_bytes: int) -> bytes:
    """Return the source's EXIF block with the provenance in it.

    A block that would be too long goes without the camera maker's private data; if that is not
    enough, without anything but the provenance.

    Raises:
        ArgumentInvalid: The provenance alone is too long.
    """
    text = json.dumps({_KEYWORD: dict(provenance)}, ensure_ascii=True, sort_keys=True)
    whole = with_history(source, text)
    bare = Exif(order=whole.order, main={IMAGE_HISTORY: whole.main[IMAGE_HISTORY]})
    for exif in (whole, without_maker_note(whole), bare):
        block = serialize(exif)
        if len(block) <= max_bytes:
            return block
    message = (
        f"the arguments make {len(block):,} bytes of metadata, this format holds {max_bytes:,}; "
    )
    raise ArgumentInvalid(
        message + "shorten them, or set output_format to png", field="output_format"
    )


def read_provenance(data: bytes) -> dict[str, str]:
    """Return what an encoded result says of itself; empty if it says nothing.

    Raises:
        ImageUnreadable: The file is no image, or a damaged one.
    """
    format_ = recognise(data)
    with reading(format_.name):
        if format_.name == "PNG":
            texts = [bytes(content) for kind, content in png_chunks(data) if kind == b"iTXt"]
            ours = [text for text in texts if text.startswith(_ITXT_START)]
            return _object(ours[0].removeprefix(_ITXT_START)) if ours else {}
        exif = parse(open_image(data, format_).info.get("exif", b""))
        text = history(exif) if exif else None
        found = _object(text).get(_KEYWORD) if text else None
        return found if isinstance(found, dict) else {}


def _object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object; empty for anything else, which somebody else wrote there."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
