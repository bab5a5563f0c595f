"""JSON as a database can keep it: no doubled names, NaN, infinity, NUL or half characters.

Python's parser lets all of these through, and each would fail later, at a worse place. jiter, which
is more than twice as quick, refuses most of them, but not in our words; so what it refuses, and
what it reads as an infinity, is read again by Python's.
"""

import json
from collections.abc import Iterable
from math import isinf
from typing import Any

import jiter

from scheduler.errors import RowInvalid
from scheduler.manifests.rows import unstorable

DEEPEST = 64
"""Levels of nesting in one row."""


def parse_object(text: str, *, what: str = "the row") -> dict[str, Any]:
    """Return the object that `text` is.

    Args:
        text: JSON, so it should be.
        what: How errors call it.

    Raises:
        RowInvalid: It is no JSON, no object, or holds what is listed above.
    """
    if text.count("[") + text.count("{") > DEEPEST:
        _refuse_depth(text, what)
    try:
        value = jiter.from_json(text.encode(), allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        value = _explained(text, what)
    if not isinstance(value, dict):
        reason = f'{what} is no JSON object; one looks like {{"name": "value"}}'
        raise RowInvalid(reason)
    if _holds_infinity(value.values()):
        _explained(text, what)
    if "\\u" in text:  # NUL and half characters can only come in as escapes.
        _refuse_unstorable(value)
    return value


def _holds_infinity(values: Iterable[Any]) -> bool:
    """Whether a number was too large: one that is written down is never meant to be infinite."""
    for value in values:
        kind = type(value)
        if kind is float and isinf(value):
            return True
        if (kind is dict and _holds_infinity(value.values())) or (
            kind is list and _holds_infinity(value)
        ):
            return True
    return False


def _explained(text: str, what: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read JSON strictly and slowly; raise with the reason in words."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as exc:
        raise RowInvalid(f"{what} is no JSON: {exc.msg} at column {exc.colno}") from exc
    except ValueError as exc:  # An integer of more than 4300 digits.
        reason = f"{what} holds a number with too many digits"
        raise RowInvalid(reason) from exc


def _refuse_depth(text: str, what: str) -> None:
    """Refuse nesting that would exhaust a recursive parser, here or downstream."""
    depth, quoted, escaped = 0, False, False
    for letter in text:
        if quoted:
            quoted = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            quoted = True
        elif letter in "[{":
            depth += 1
            if depth > DEEPEST:
                raise RowInvalid(f"{what} is nested deeper than {DEEPEST} levels")
        elif letter in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowInvalid(f"{twice!a} is there twice; keep one of them", field=_field(twice))
    return found


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise RowInvalid(f"{text[:40]} is too large for a number")
    return value


def _constant(text: str) -> float:
    raise RowInvalid(f"{text} is no number that JSON knows")


def _refuse_unstorable(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if any(unstorable(text) for text in _strings([name, value])):
            reason = f"{name!a} holds a NUL or half a character (\\ud800 to \\udfff); remove it"
            raise RowInvalid(reason, field=_field(name))


def _strings(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _strings(value)
        elif isinstance(value, dict):
            yield from _strings(value)
            yield from _strings(value.values())


def _field(name: str) -> str | None:
    """Return the column's name, if it can be kept as one."""
    return None if unstorable(name) else name


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
