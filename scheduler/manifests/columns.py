"""From a manifest row's columns to a `Row`: shared by every manifest with named columns."""

from collections.abc import Mapping
from typing import Any, NoReturn

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.manifests.rows import Cursor, Row
from scheduler.storage import parse_address

COLUMNS = ("source", "version_id", "destination", "id", "arguments")
"""What we read; every other column passes through."""
ID_CHARACTERS = 255
SOURCE_MISSING = "source: is missing; write the image's s3:// or file:// address"


def row_of(columns: Mapping[str, Any], *, line: int, cursor: Cursor) -> Row:
    """Check one row's columns.

    Raises:
        RowInvalid: A column is missing or of the wrong type; its `field` says which.
    """
    source = _source(columns)
    return Row(
        line=line,
        source=source,
        version=_version(columns, source),
        destination=_text(columns, "destination"),
        custom_id=_id(columns),
        arguments=_arguments(columns),
        passthrough={name: value for name, value in columns.items() if name not in COLUMNS},
        cursor=cursor,
    )


def _source(columns: Mapping[str, Any]) -> str:
    text = _text(columns, "source")
    if text is None:
        raise RowInvalid(SOURCE_MISSING, field="source")
    try:
        place = parse_address(text)
    except AddressInvalid as exc:
        raise RowInvalid(f"source: {exc}", field="source") from exc
    if place.is_folder:
        _refuse("source", f"{text!r} names a folder; name one image")
    return str(place)


def _version(columns: Mapping[str, Any], source: str) -> str | None:
    version = _text(columns, "version_id")
    if version is not None and not source.startswith("s3://"):
        _refuse("version_id", "only s3:// objects have versions; remove it")
    return version


def _id(columns: Mapping[str, Any]) -> str | None:
    value = columns.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        _refuse("id", f"must be a text or an integer, not {_kind(value)}")
    if value is not None and not 1 <= len(value) <= ID_CHARACTERS:
        _refuse("id", f"has {len(value)} characters; 1 to {ID_CHARACTERS} are allowed")
    return value


def _arguments(columns: Mapping[str, Any]) -> dict[str, Any]:
    value = columns.get("arguments")
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse("arguments", f"must be an object, not {_kind(value)}")
    return value


def _text(columns: Mapping[str, Any], name: str) -> str | None:
    value = columns.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        _refuse(name, f"must be a text, not {_kind(value)}")
    if not value:
        _refuse(name, "is empty; leave it out or fill it in")
    return value


def _kind(value: object) -> str:
    """Name a JSON type as its users do."""
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _refuse(name: str, what: str) -> NoReturn:
    raise RowInvalid(f"{name}: {what}", field=name)
