"""From a manifest row's columns to a `Row`: shared by every manifest with named columns."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.manifests.rows import NOTHING, Cursor, Row
from scheduler.storage import Address
from scheduler.storage.address import object_address

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
    plan = _plan(tuple(columns))
    if None in columns.values():
        plan = _plan(tuple(name for name, value in columns.items() if value is not None))
    written = columns.get(plan.source)
    if plan.source == FILE_NAME and folder is not None:
        written = _below(folder, written)
    source = _source(written, "source")
    if source is None:
        raise RowInvalid(SOURCE_MISSING, field="source")
    return Row(
        line,
        source,
        cursor,
        _version(columns.get(plan.version), source),
        _source(columns.get(plan.alternative), "source_alternative"),
        _text(columns.get(plan.destination), "destination"),
        _id(columns.get(plan.id)),
        _arguments(columns.get(plan.arguments)),
        {name: value for name, value in columns.items() if name not in plan}
        if len(columns) > plan.known
        else NOTHING,
    )


class _Plan(NamedTuple):
    """What each of our columns is called in rows that have certain columns.

    Attributes:
        known: How many of these columns are ours.
    """

    known: int
    source: str
    alternative: str
    version: str
    destination: str
    id: str
    arguments: str


@lru_cache(maxsize=1024)
def _plan(columns: tuple[str, ...]) -> _Plan:
    names = [
        next((each for each in (name, *others) if each in columns), name)
        for name, others in ALIASES.items()
    ]
    return _Plan(sum(name in columns for name in names), *names)


def _below(folder: Address, value: object) -> str | None:
    """Return what a name means beside the manifest."""
    name = _text(value, FILE_NAME)
    if name is None:
        return None
    try:
        return str(folder.child(name))
    except AddressInvalid as exc:
        raise RowInvalid(f"{FILE_NAME}: {exc}", field=FILE_NAME) from exc


def _source(value: object, name: str) -> str | None:
    text = _text(value, name)
    if text is None:
        return None
    try:
        return object_address(text)
    except AddressInvalid as exc:
        raise RowInvalid(f"{name}: {exc}", field=name) from exc


def _version(value: object, source: str) -> str | None:
    version = _text(value, "version_id")
    if version is not None and not source.startswith("s3://"):
        _refuse("version_id", "only s3:// objects have versions; remove it")
    return version


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        _refuse("id", f"must be a text or an integer, not {_kind(value)}")
    if not 1 <= len(value) <= ID_CHARACTERS:
        _refuse("id", f"has {len(value)} characters; 1 to {ID_CHARACTERS} are allowed")
    return value


def _arguments(value: object) -> Mapping[str, Any]:
    if value is None:
        return NOTHING
    if not isinstance(value, dict):
        _refuse("arguments", f"must be an object, not {_kind(value)}")
    return value


def _text(value: object, name: str) -> str | None:
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
