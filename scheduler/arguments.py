"""An endpoint's arguments, checked against its schema before anything is queued."""

import difflib
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models import catalog
from models.errors import ArgumentInvalid
from models.schema import UpscaleRequest

_IMAGE = "s3://bucket/key"
"""Stands in for the image while the rest is checked; its address is checked elsewhere."""


@lru_cache
def _schema(endpoint: str) -> type[UpscaleRequest]:
    return catalog.find(endpoint).request_class()


def checked(endpoint: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the schema reads them: only those given, in JSON's types.

    Raises:
        UnknownEndpoint: The catalogue does not have it.
        ArgumentInvalid: The first argument at fault, with its value and what would be right.
    """
    schema = _schema(endpoint)
    if "image_url" in arguments:
        reason = "image_url: is the source itself; leave it out of the arguments"
        raise ArgumentInvalid(reason, field="image_url")
    try:
        request = schema.model_validate({**arguments, "image_url": _IMAGE}, strict=False)
    except ValidationError as exc:
        raise _first(exc.errors()[0], schema) from exc
    return request.model_dump(mode="json", exclude={"image_url"}, exclude_unset=True)


def _first(error: ErrorDetails, schema: type[UpscaleRequest]) -> ArgumentInvalid:
    field = str(error["loc"][0]) if error["loc"] else None
    if error["type"] == "extra_forbidden":
        return ArgumentInvalid(_unknown(str(field), schema), field=field)
    reason = f"{field}: {error['input']!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    return ArgumentInvalid(reason, field=field)


def _unknown(name: str, schema: type[UpscaleRequest]) -> str:
    known = [field for field in schema.model_fields if field != "image_url"]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name}: is no argument of this endpoint{meant} (it has {', '.join(sorted(known))})"
