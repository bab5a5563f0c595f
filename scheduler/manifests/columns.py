"""From a manifest row's columns to a `Row`: shared by every manifest with named columns."""

from collections.abc import Mapping
from typing import Any, NoReturn

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.manifests.rows import Cursor, Row
from scheduler.storage import Address, parse_address

ALIASES: Mapping[str, tuple[str, ...]] = {
    "source": ("source-ref", "src", "image_url", "file_name"),
    "source_alternative": (),
    "version_id": (),
    "destination": ("dst",),
    "id": ("custom_id",),
    "arguments": ("params",),
}
"""The columns that we read, and what others call them; every other column passes through.

`source-ref` is that of SageMaker's augmented manifests, `file_name` that of Hugging Face's
imagefolder metadata. Another name counts only where ours is absent.
"""
FILE_NAME = "file_name"
ID_CHARACTERS = 255
SOURCE_MISSING = "source: is missing; write the image's s3:// or file:// address"


def row_of(
    columns: Mapping[str, Any], *, line: int, cursor: Cursor, folder: Address | None = None
) -> Row:
    """Check one row's columns.

    Args:
        columns: By name, as JSON has them.
        line: Which row, from 1.
        cursor: Where reading goes on behind it.
        folder: What a `file_name` is relative to.

    Raises:
        RowInvalid: A column is missing or of the wrong type; its `field` says which.
    """
    names = _names(columns)
    ours = {name: columns.get(written) for name, written in names.items()}
    if names["source"] == FILE_NAME and folder is not None:
        ours["source"] = _below(folder, _text(ours, "source"))
    source = _source(ours, "source")
    if source is None:
        raise RowInvalid(SOURCE_MISSING, field="source")
    used = set(names.values())
    return Row(
        line=line,
        source=source,
        version=_version(ours, source),
        alternative=_source(ours, "source_alternative"),
        destination=_text(ours, "destination"),
        custom_id=_id(ours),
        arguments=_arguments(ours),
        passthrough={name: value for name, value in columns.items() if name not in used},
        cursor=cursor,
    )


def _names(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return what each of our columns is called in this row."""
    return {
        name: next((each for each in (name, *others) if columns.get(each) is not None), name)
        for name, others in ALIASES.items()
    }


def _below(folder: Address, name: str | None) -> str | None:
    """Return what a name means beside the manifest."""
    if name is None:
        return None
    try:
        return str(folder.child(name))
    except AddressInvalid as exc:
        raise RowInvalid(f"{FILE_NAME}: {exc}", field=FILE_NAME) from exc


def _source(columns: Mapping[str, Any], name: str) -> str | None:
    text = _text(columns, name)
    if text is None:
        return None
    try:
        place = parse_address(text)
    except AddressInvalid as exc:
        raise RowInvalid(f"{name}: {exc}", field=name) from exc
    if place.is_folder:
        _refuse(name, f"{text!r} names a folder; name one image")
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
