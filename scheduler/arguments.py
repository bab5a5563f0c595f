"""An endpoint's arguments, checked before anything is queued; errors name the field and its range.

Only the catalogue's torch-free schemas are needed for it.
"""

import json
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models import catalog
from models.errors import ArgumentInvalid
from models.schema import Arguments

IMAGE = "image_url"
"""The one field that is no argument: it is the row's source."""
PLACEHOLDER = "file:///image"
REMEMBERED = 4096
SHOWN_CHARACTERS = 80
MAX_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument of an endpoint, in words.

    Attributes:
        name: As the endpoint has it.
        allowed: Its type and range, such as `a number from 0.1 to 16`.
        default: As JSON has it; None also where there is no default.
        required: Whether it must be given.
        description: What it does.
        takes_truth: Whether `true` and `false` are among its values.
    """

    name: str
    allowed: str
    default: Any
    required: bool
    description: str
    takes_truth: bool


def checked(endpoint: str, arguments: Mapping[str, Any]) -> Arguments:
    """Return the arguments as the endpoint understands them: every field, defaults filled in.

    Args:
        endpoint: The catalogue's id.
        arguments: As JSON has them, without the image.

    Raises:
        UnknownEndpoint: The catalogue has no such endpoint.
        ArgumentInvalid: One is unknown, missing, of the wrong type or out of range.
    """
    try:
        text = json.dumps(arguments, sort_keys=True)
    except (TypeError, ValueError) as exc:
        reason = f"arguments: {exc}; use what JSON can express"
        raise ArgumentInvalid(reason, field="arguments") from exc
    return dict(_checked(endpoint, text))


def draw_seed() -> int:
    """Return a seed for a job that names none."""
    return draw_seeds(1)[0]


def draw_seeds(count: int) -> list[int]:
    """Return seeds for so many jobs: one call of the system's generator instead of one a job."""
    drawn = struct.unpack(f"={count}I", secrets.token_bytes(4 * count))
    return [each >> 1 for each in drawn]  # 0 to MAX_SEED, each as likely


@lru_cache(maxsize=REMEMBERED)
def _checked(endpoint: str, text: str) -> Arguments:
    """Check arguments once, however many rows share them; as texts 1, 1.0 and true are apart."""
    arguments: Arguments = json.loads(text)
    request_class = catalog.find(endpoint).request_class()
    if IMAGE in arguments:
        reason = f"{IMAGE}: the row's source is the image; remove it from the arguments"
        raise ArgumentInvalid(reason, field=IMAGE)
    _refuse_truth(endpoint, arguments)
    try:
        request = request_class.model_validate({**arguments, IMAGE: PLACEHOLDER})
    except ValidationError as exc:
        raise _invalid(endpoint, exc) from exc
    return request.model_dump(mode="json", exclude={IMAGE})


def _refuse_truth(endpoint: str, arguments: Arguments) -> None:
    """Refuse `true` where a number is meant, which would otherwise pass as 1."""
    for parameter in parameters(endpoint):
        value = arguments.get(parameter.name)
        if isinstance(value, bool) and not parameter.takes_truth:
            raise _not_allowed(parameter, value)


def _invalid(endpoint: str, exc: ValidationError) -> ArgumentInvalid:
    """Return our error for the first of pydantic's."""
    error = exc.errors(include_url=False)[0]
    name = str(error["loc"][0]) if error["loc"] else "arguments"
    known = {parameter.name: parameter for parameter in parameters(endpoint)}
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return ArgumentInvalid(_unknown(endpoint, name, list(known)), field=name)
    if name not in known or error["type"] == "value_error":
        return ArgumentInvalid(f"{name}: {_message(error)}", field=name)
    if error["type"] == "missing" and len(error["loc"]) == 1:
        reason = f"{name}: is missing; {endpoint} needs {known[name].allowed}"
        return ArgumentInvalid(reason, field=name)
    if len(error["loc"]) > 1:
        place = ".".join(map(str, error["loc"]))
        return ArgumentInvalid(f"{place}: {_shown(error['input'])}: {_message(error)}", field=name)
    return _not_allowed(known[name], error["input"])


def _message(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ")


def _not_allowed(parameter: Parameter, value: object) -> ArgumentInvalid:
    reason = f"{parameter.name}: {_shown(value)} is not allowed; it must be {parameter.allowed}"
    return ArgumentInvalid(reason, field=parameter.name)


def _unknown(endpoint: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"{name}: is no argument of {endpoint}; did you mean {' or '.join(near)}?"
    return f"{name}: is no argument of {endpoint}; it has {', '.join(known) or 'none'}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


@cache
def parameters(endpoint: str) -> tuple[Parameter, ...]:
    """Return an endpoint's arguments, in the order of its schema.

    Raises:
        UnknownEndpoint: The catalogue has no such endpoint.
    """
    schema = catalog.find(endpoint).request_class().model_json_schema()
    return tuple(
        _parameter(name, field, schema, required=name in schema.get("required", ()))
        for name, field in schema["properties"].items()
        if name != IMAGE
    )


def _parameter(
    name: str, field: dict[str, Any], schema: dict[str, Any], *, required: bool
) -> Parameter:
    options = _options(field, schema)
    return Parameter(
        name=name,
        allowed=" or ".join(_allowed(option) for option in options),
        default=field.get("default"),
        required=required,
        description=" ".join(str(field.get("description", "")).split()),
        takes_truth=any(_takes_truth(option) for option in options),
    )


def _options(field: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a field's type, with references followed."""
    if "$ref" in field:
        return [schema["$defs"][field["$ref"].rpartition("/")[2]]]
    if "anyOf" in field:
        return [inner for option in field["anyOf"] for inner in _options(option, schema)]
    return [field]


def _takes_truth(option: dict[str, Any]) -> bool:
    return option.get("type") in ("boolean", None) and "enum" not in option


NAMES = {
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _allowed(option: dict[str, Any]) -> str:
    """Say in words what one alternative of a field's type allows."""
    if "enum" in option:
        return "one of " + ", ".join(map(str, option["enum"]))
    if "const" in option:
        return _shown(option["const"])
    return NAMES.get(option.get("type", ""), "any value") + _range(option)


def _range(option: dict[str, Any]) -> str:
    """Say a number's bounds, or those of a text's or list's length."""
    least, most = option.get("minimum"), option.get("maximum")
    above, below = option.get("exclusiveMinimum"), option.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    words = [
        f"{word} {bound:g}"
        for word, bound in (
            ("at least", least),
            ("above", above),
            ("at most", most),
            ("below", below),
        )
        if bound is not None
    ]
    return f" {' and '.join(words)}" if words else _length(option)


def _length(option: dict[str, Any]) -> str:
    unit = "characters" if option.get("type") == "string" else "entries"
    least = option.get("minLength", option.get("minItems"))
    most = option.get("maxLength", option.get("maxItems"))
    if least is not None and most is not None:
        return f" of {least} to {most} {unit}"
    if most is not None:
        return f" of at most {most} {unit}"
    return f" of at least {least} {unit}" if least is not None else ""
