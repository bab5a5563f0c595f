"""The API's description: what FastAPI knows of our routes, and every endpoint of the catalogue.

Queue and direct calls are one route each for all endpoints; here each endpoint has operations of
its own, with the schema of its input and of its result.
"""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from models import catalog
from models.catalog import Endpoint
from models.schema import file_fields
from scheduler.api import wire
from scheduler.api.paths import alias

GENERIC = re.compile(r"/(queue|run)/\{path\}")
"""The routes that stand for all endpoints."""
OPEN = re.compile(
    r"(get|head) /cdn/|\w+ /cdn/uploads/|get /(healthz|readyz|\.well-known)|\w+ /events/"
)
"""Operations without a key: their address carries a secret, or there is nothing to hide."""
REFERENCE = "#/components/schemas/{model}"
INTRODUCTION = (
    "fal's queue protocol for upscalers on machines of your own, with files, batches and metrics."
)
ERRORS: dict[str, tuple[str, type[BaseModel]]] = {
    "400": ("A header, the query or the order of calls won't do.", wire.PlatformError),
    "404": ("There is no such thing, or not for this key.", wire.PlainError),
    "413": ("The body is larger than the server takes.", wire.PlainError),
    "422": ("A field won't do.", wire.InputError),
    "503": ("Something that the server needs does not answer; try again.", wire.PlatformError),
}
KEYED_ERRORS: dict[str, tuple[str, type[BaseModel]]] = {
    "401": ("There is no key, or not this one.", wire.PlainError),
    "403": ("The key is not for this, or the address was altered.", wire.PlainError),
    "429": ("Over a limit of the key, or over the caller's own.", wire.PlatformError),
}
OWN_ERRORS = {"/cdn/": "403", "/events/": "401"}
"""What operations without a key may answer all the same: they check secrets of their own."""
STORED = (
    "A request that failed is answered with its stored outcome: 422 for its input, 499 cancelled, "
    "500 the model, 504 not started in time, 410 no longer kept."
)


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def _made(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=INTRODUCTION, routes=app.routes
    )
    paths = {path: each for path, each in document["paths"].items() if not GENERIC.match(path)}
    document["paths"] = paths | {
        path: each for endpoint in catalog.ENDPOINTS.values() for path, each in _of(endpoint)
    }
    components = document.setdefault("components", {})
    components["schemas"] = components.get("schemas", {}) | _schemas()
    components["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "Authorization", "description": wire.KEY}
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(f"{method} {path}", operation)
    return document


def _of(endpoint: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the paths of an endpoint, with their operations."""
    given = {"schema": _reference(endpoint.request_class().__name__)}
    result = {"schema": _reference(endpoint.result_class().__name__)}
    body = {"required": True, "content": {"application/json": given}}
    yield (
        f"/queue/{endpoint.id}",
        {
            "post": _operation(
                endpoint,
                "submit",
                {"200": _answer("It waits for its turn.", wire.QueueReply)},
                {"requestBody": body, "parameters": wire.WISHES},
            )
        },
    )
    done = {"200": {"description": "The result.", "content": {"application/json": result}}}
    stored = {"default": _answer(STORED, wire.AnyError)}
    yield (
        f"/run/{endpoint.id}",
        {"post": _operation(endpoint, "run", done | stored, {"requestBody": body})},
    )
    request = f"/queue/{alias(endpoint.id)}/requests/{{request_id}}"
    standing = {
        "200": _answer("It has ended.", wire.StatusReply),
        "202": _answer("It has not ended.", wire.StatusReply),
    }
    stream = {"200": {"description": "Status documents.", "content": {"text/event-stream": {}}}}
    changed = {
        code: _answer("Whether it will not run.", wire.CancelReply) for code in ("202", "400")
    }
    yield request, {"get": _operation(endpoint, "result", done | stored)}
    yield f"{request}/status", {"get": _operation(endpoint, "status", standing)}
    yield f"{request}/status/stream", {"get": _operation(endpoint, "stream", stream)}
    yield f"{request}/cancel", {"put": _operation(endpoint, "cancel", changed)}


def _operation(
    endpoint: Endpoint, what: str, responses: dict[str, Any], said: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "tags": [endpoint.id],
        "summary": f"{what.capitalize()}: {endpoint.summary}",
        "operationId": f"{what} {endpoint.id}",
        "responses": responses,
        **(said or {}),
    }


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"schema": _reference(model.__name__)}
    return {"description": description, "content": {"application/json": schema}}


def _complete(name: str, operation: dict[str, Any]) -> None:
    """Add what holds for every operation: its path's variables, the key, the errors."""
    known = {each["name"] for each in operation.get("parameters", [])}
    variables = [each for each in re.findall(r"\{(\w+)\}", name) if each not in known]
    operation["parameters"] = [*operation.get("parameters", []), *map(_variable, variables)]
    errors = dict(ERRORS)
    operation["responses"].pop("422", None)  # FastAPI's own shape, which we don't answer
    if not OPEN.match(name):
        operation["security"] = [{"key": []}]
        errors |= KEYED_ERRORS
    for part, code in OWN_ERRORS.items():
        if part in name:
            errors[code] = KEYED_ERRORS[code]
    for code, (description, model) in errors.items():
        operation["responses"].setdefault(code, _answer(description, model))


def _variable(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _schemas() -> dict[str, Any]:
    """Return the schemas of all endpoints and of what the protocol answers, by their names."""
    requests = [each.request_class() for each in catalog.ENDPOINTS.values()]
    results = [each.result_class() for each in catalog.ENDPOINTS.values()]
    _, found = models_json_schema(
        [(model, "validation") for model in (*requests, *results, *wire.ANSWERS)],
        ref_template=REFERENCE,
    )
    schemas: dict[str, Any] = found["$defs"]
    for model in requests:
        for field in file_fields(model):
            schemas[model.__name__]["properties"][field]["description"] += wire.FILE
    return schemas


def _reference(name: str) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=name)}
