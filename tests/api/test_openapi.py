"""The description of the API: complete, valid, and true of a live server."""

from contextlib import suppress
from itertools import product
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from models.catalog import ENDPOINTS
from scheduler.ledger.keys import Scope
from tests.api.live import Live

EXAMPLES = 2
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_every_endpoint_is_described_with_its_input_and_its_result(api: Live) -> None:
    document = api.app.openapi()
    validate(document)

    for endpoint in ENDPOINTS.values():
        submitted = document["paths"][f"/queue/{endpoint.id}"]["post"]
        given_ = submitted["requestBody"]["content"]["application/json"]["schema"]
        done = document["paths"][f"/run/{endpoint.id}"]["post"]["responses"]["200"]
        result = done["content"]["application/json"]["schema"]
        fields = resolved(document, given_)["properties"]
        assert set(fields) == set(endpoint.request_class().model_fields)
        assert [name for name, field in fields.items() if not field.get("description")] == []
        assert "data URI" in fields["image_url"]["description"]
        assert fields["image_url"]["examples"]
        assert "seed" in resolved(document, result)["properties"]
    scale = resolved(document, {"$ref": "/LanczosRequest"})["properties"]["scale"]
    assert (scale["minimum"], scale["maximum"], scale["default"]) == (0.1, 16.0, 2.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_no_answer_is_undocumented_and_nothing_breaks_the_server(api: Live) -> None:
    schema = schemathesis.openapi.from_dict(api.app.openapi())
    key = api.make_key("fuzz", scopes=tuple(Scope))
    headers = {"authorization": f"Key {key}"}

    wrong = []
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation, mode in product(operations, GenerationMode):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Case) -> None:
            case.call_and_validate(
                base_url=api.url, headers=headers, checks=CHECKS, timeout=20, verify=False
            )

        try:
            with suppress(Unsatisfiable):  # nothing could be wrong about it
                check()
        except FailureGroup as exc:
            wrong += [f"{operation.label}: {each}" for each in exc.exceptions]
    assert wrong == []
