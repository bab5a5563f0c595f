"""The queue without workers: everything that happens before a job runs, and instead of it."""

import base64
import json
import time
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from scheduler.ledger import jobs, requests
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.lapses import MAX_FAILURES
from scheduler.ledger.tables import JobState
from tests.api.live import Live
from tests.pictures import make_pixels, save

LANCZOS = "/queue/enlarger/lanczos"
JWKS = "/.well-known/jwks.json"
BODY = {"image_url": "https://pictures.example/a.png", "scale": 2}


def row(api: Live, request_id: str) -> Any:
    """Return the request's job."""
    with api.app.state.ledger.begin() as session:
        statement = text("select jobs.*, batches.priority from jobs join batches on"
                         " batches.id = jobs.batch_id where jobs.id = :id")  # fmt: skip
        return session.execute(statement, {"id": request_id}).one()


def end(api: Live, request_id: str, state: JobState, error: Any = None) -> None:
    """End a request as a worker would."""
    ending = Ending(
        ticket=Ticket(UUID(request_id), 0),
        state=state,
        error=json.dumps(error) if error else None,
        outcome=json.dumps({"objects": [], "body": {"seed": 1}}),
    )
    with api.app.state.ledger.begin() as session:
        jobs.finish(session, [ending], from_states=(JobState.WAITING,))


def submit(client: httpx.Client, body: Any = BODY, **options: Any) -> dict[str, Any]:
    answer = client.post(LANCZOS, json=body, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["x-fal-request-id"] == found["request_id"]
    return found


def test_a_request_is_a_job_of_its_owners_feed_and_waits_in_line(api: Live) -> None:
    with api.client() as client:
        first = submit(client)
        second = submit(client, headers={"x-fal-queue-priority": "low"})
        third = submit(client)
        status = client.get(third["status_url"] + "/?logs=true")
        result = client.get(third["response_url"])

    assert first["status"] == "IN_QUEUE"
    assert first["gateway_request_id"] == first["request_id"]
    assert first["response_url"] == f"{api.url}{LANCZOS}/requests/{first['request_id']}"
    assert first["cancel_url"] == first["response_url"] + "/cancel"
    assert [each["queue_position"] for each in (first, second, third)] == [0, 0, 1]
    assert (status.status_code, status.json()["queue_position"]) == (202, 1)
    assert (result.status_code, result.json()["detail"]) == (400, "Request is still in progress")
    assert result.headers["x-fal-request-id"] == third["request_id"]
    job = row(api, third["request_id"])
    assert (job.state, job.source, job.arguments["scale"]) == ("waiting", BODY["image_url"], 2.0)
    assert row(api, second["request_id"]).priority < job.priority


def test_counters_that_are_refreshed_in_quick_succession_forget_nobody(api: Live) -> None:
    positions = []
    with api.client() as client:
        for _ in range(3):
            api.app.state.lines.refresh()
            positions.append(submit(client)["queue_position"])

    assert positions == [0, 1, 2]


def test_the_position_never_rises_and_falls_with_those_that_leave(api: Live) -> None:
    lines = api.app.state.lines
    with api.client() as client:
        made = [submit(client) for _ in range(3)]
        seen = []
        for leaves in (None, made[0], made[1]):
            if leaves is not None:
                client.put(leaves["cancel_url"])
            time.sleep(0.6)  # counters that are younger are not read anew
            lines.refresh()
            seen.append(client.get(made[2]["status_url"]).json()["queue_position"])

    assert seen == [2, 1, 0]


def test_nobody_else_sees_a_request_and_its_path_must_be_its_own(api: Live) -> None:
    bob = {"authorization": f"Key {api.make_key('bob')}"}
    with api.client() as client:
        made = submit(client)
        id_ = made["request_id"]
        paths = (made["status_url"], made["response_url"], made["status_url"] + "/stream")
        others = [client.get(path, headers=bob) for path in paths]
        others.append(client.put(made["cancel_url"], headers=bob))
        wrong = [
            client.get(f"/queue/{path}/status")
            for path in (
                f"enlarger/compact/requests/{id_}",
                "enlarger/lanczos/requests/00000000-0000-0000-0000-000000000000",
                "enlarger/lanczos/requests/none",
                "enlarger/lanczos/requests/%0d%0aX-Evil:%201",
            )
        ]
        endpoint = client.post("/queue/enlarger/none", json=BODY)

    assert {each.status_code for each in [*others, *wrong]} == {404}
    assert {each.json()["status"] for each in [*others, *wrong]} == {"NOT_FOUND"}
    assert all("x-evil" not in each.headers for each in wrong)
    assert (endpoint.status_code, type(endpoint.json()["detail"])) == (404, str)


def test_a_long_id_is_followed_under_its_alias_and_in_full(api: Live) -> None:
    full = "fal-ai/seedvr/upscale/image"
    with api.client() as client:
        made = client.post(f"/queue/{full}", json={"image_url": BODY["image_url"]}).json()
        id_ = made["request_id"]
        statuses = [
            client.get(f"/queue/{path}/requests/{id_}/status").status_code
            for path in ("fal-ai/seedvr", full)
        ]

    assert made["status_url"] == f"{api.url}/queue/fal-ai/seedvr/requests/{id_}/status"
    assert statuses == [202, 202]


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        ({}, "missing", "image_url"),
        ({**BODY, "scale": 99}, "less_than_equal", "scale"),
        ({**BODY, "scale": "much"}, "float_parsing", "scale"),
        ({**BODY, "output_format": "gif"}, "enum", "output_format"),
        ({**BODY, "colour": 1}, "extra_forbidden", "colour"),
        ({"image_url": "file:///etc/passwd"}, "file_download_error", "image_url"),
        ({"image_url": "s3://bucket/key"}, "file_download_error", "image_url"),
        ({"image_url": "data:image/png;base64,###"}, "file_download_error", "image_url"),
        ({"image_url": "x" * 9000}, "file_download_error", "image_url"),
    ],
)
def test_a_bad_body_is_stored_as_failed_with_its_422_and_never_runs(
    api: Live, body: dict[str, Any], kind: str, field: str
) -> None:
    with api.client() as client:
        made = submit(client, body)
        status = client.get(made["status_url"], params={"logs": "1"})
        result = client.get(made["response_url"])

    assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
    assert status.json()["error"]
    assert status.json()["logs"] == []
    complaint = result.json()["detail"][0]
    assert (result.status_code, complaint["type"]) == (422, kind)
    assert complaint["loc"] == ["body", field]
    assert complaint["url"].endswith(f"#{kind}")
    assert len(result.content) < 2000
    assert result.headers["x-fal-billable-units"] == "0"
    assert row(api, made["request_id"]).state == "rejected"


def test_a_data_uri_becomes_a_file_that_a_worker_can_read(api: Live) -> None:
    picture = base64.b64encode(save(make_pixels(8, 6), "PNG")).decode()
    with api.client() as client:
        made = submit(client, {"image_url": f"data:image/png;base64,{picture}"})

    source = row(api, made["request_id"]).source
    assert source.startswith(f"{api.settings.files}/blobs/")
    assert api.app.state.storage.stat(source).size > 0


def test_a_cancelled_request_ends_at_once_and_its_result_says_so(api: Live) -> None:
    with api.client() as client:
        made = submit(client)
        answers = [
            client.put(made["cancel_url"], headers={"content-type": "application/json"})
            for _ in range(2)
        ]
        status = client.get(made["status_url"]).json()
        result = client.get(made["response_url"])

    assert [(each.status_code, each.json()["status"]) for each in answers] == [
        (202, "CANCELLATION_REQUESTED"),
        (400, "ALREADY_COMPLETED"),
    ]
    assert (status["status"], status["error_type"], status["logs"]) == (
        "COMPLETED", "client_cancelled", None)  # fmt: skip
    assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
    assert result.headers["x-fal-error-type"] == "client_cancelled"


def test_a_request_that_did_not_start_in_time_is_a_timeout_of_its_callers(api: Live) -> None:
    with api.client() as client:
        made = submit(client, headers={"x-fal-request-timeout": "0.2"})
        calm = submit(client, headers={"x-fal-request-timeout": "60"})
        time.sleep(0.3)
        with api.app.state.ledger.begin() as session:
            ended = requests.expire(session, limit=10)
        result = client.get(made["response_url"])
        other = client.get(calm["status_url"]).json()

    assert ended == 1
    assert (result.status_code, result.json()["error_type"]) == (504, "request_timeout")
    assert result.headers["x-fal-request-timeout-type"] == "user"
    assert other["status"] == "IN_QUEUE"


def test_the_same_idempotency_key_is_the_same_request(api: Live) -> None:
    key = {"idempotency-key": "order 7"}
    bob = key | {"authorization": f"Key {api.make_key('bob')}"}
    with api.client() as client:
        first = submit(client, headers=key)
        again = submit(client, headers=key)
        other = client.post(LANCZOS, json={**BODY, "scale": 3}, headers=key)
        bobs = submit(client, headers=bob)

    assert again["request_id"] == first["request_id"]
    assert (other.status_code, other.json()["error_type"]) == (400, "bad_request")
    assert bobs["request_id"] != first["request_id"]


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-fal-request-timeout": "soon"}, ""),
        ({"x-fal-request-timeout": "nan"}, ""),
        ({"x-fal-request-timeout": "0"}, ""),
        ({"x-fal-queue-priority": "urgent"}, ""),
        ({"idempotency-key": ""}, ""),
        ({"x-fal-retry-config": "never"}, ""),
        ({"x-fal-retry-config": "[]"}, ""),
        ({"x-fal-retry-config": '{"timeout": 3}'}, ""),
        ({"x-fal-retry-config": '{"timeout": {"retries": 11}}'}, ""),
        ({"x-fal-retry-config": '{"timeout": {"retries": true}}'}, ""),
        ({"x-fal-object-lifecycle-preference": "[]"}, ""),
        ({"x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": "x"}'}, ""),
        ({}, "?fal_max_queue_length=-1"),
        ({}, "?fal_webhook=file:///etc/passwd"),
    ],
)
def test_a_header_that_cannot_be_understood_is_refused(
    api: Live, headers: dict[str, str], query: str
) -> None:
    with api.client() as client:
        answer = client.post(LANCZOS + query, json=BODY, headers=headers)

    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("headers", "tries"),
    [
        ({}, None),
        ({"x-fal-no-retry": "yes"}, 1),
        ({"x-fal-retry-config": '{"server_error": {"retries": 0}, "timeout": {"retries": 4}}'}, 5),
        ({"x-fal-retry-config": '{"of another day": 1}'}, None),
        ({"x-fal-retry-config": '{"timeout": {"retries": 4}}', "x-fal-no-retry": "1"}, 1),
    ],
)
def test_a_caller_says_how_often_a_request_is_tried(
    api: Live, headers: dict[str, str], tries: int | None
) -> None:
    with api.client() as client:
        made = submit(client, headers=headers)

    with api.app.state.ledger.begin() as session:
        statement = text("select options from batches where id = :id")
        options = session.scalar(statement, {"id": row(api, made["request_id"]).batch_id})
    assert options.get(MAX_FAILURES) == tries


def test_limits_of_a_key_and_of_the_caller_are_kept(api: Live) -> None:
    few = {"authorization": f"Key {api.make_key('carol', max_queued=2)}"}
    slow = {"authorization": f"Key {api.make_key('dave', per_minute=2)}"}
    with api.client() as client:
        codes = {
            name: [client.post(LANCZOS, json=BODY, headers=of).status_code for _ in range(3)]
            for name, of in (("few", few), ("slow", slow))
        }
        crowded = client.post(LANCZOS + "?fal_max_queue_length=1", json=BODY)

    assert codes == {"few": [200, 200, 429], "slow": [200, 200, 429]}
    assert crowded.status_code == 429
    assert crowded.headers["x-fal-needs-retry"] == "1"


def test_a_webhook_is_subscribed_with_the_request(api: Live) -> None:
    with api.client() as client:
        made = submit(client, params={"fal_webhook": "https://hooks.example/x?y=1"})
    with api.app.state.ledger.begin() as session:
        asked = text("select url, style from subscriptions where job_id = :job")
        found = session.execute(asked, {"job": made["request_id"]}).one()

    assert found == ("https://hooks.example/x?y=1", "fal")


def test_the_keys_of_webhooks_are_public_at_every_address(api: Live) -> None:
    with httpx.Client(base_url=api.url) as client:
        own, rest = (client.get(path) for path in (JWKS, f"/rest{JWKS}"))
        by_host = client.get(JWKS, headers={"host": "rest.fal.ai"})

    assert own.json() == rest.json() == by_host.json()
    key = own.json()["keys"][0]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert len(base64.urlsafe_b64decode(key["x"] + "=")) == 32


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        ({"code": "image_unreadable", "kind": "request", "field": "image_url"}, 422,
         "image_load_error"),
        ({"code": "image_too_large", "kind": "request", "field": "image_url"}, 422,
         "image_too_large"),
        ({"code": "object_missing", "kind": "request", "field": "image_url"}, 422,
         "file_download_error"),
        ({"code": "object_too_large", "kind": "request", "field": "image_url"}, 422,
         "file_too_large"),
        ({"code": "argument_invalid", "kind": "request", "field": "scale"}, 422, "value_error"),
        ({"code": "storage_unavailable", "kind": "world"}, 500, "downstream_service_unavailable"),
        ({"code": "out_of_device_memory", "kind": "world"}, 500, "internal_server_error"),
        ({"code": "program_failed", "kind": "program"}, 500, "internal_server_error"),
        ({"code": "worker_lost", "kind": "world"}, 503, "runner_disconnected"),
    ],
)  # fmt: skip
def test_what_only_a_worker_finds_has_fals_type(
    api: Live, error: dict[str, str], code: int, kind: str
) -> None:
    with api.client() as client:
        made = submit(client)
        end(api, made["request_id"], JobState.FAILED, error | {"message": "secret: /var/lib"})
        status = client.get(made["status_url"]).json()
        result = client.get(made["response_url"])

    assert (status["status"], result.status_code) == ("COMPLETED", code)
    detail = result.json()["detail"]
    found = result.json()["error_type"] if isinstance(detail, str) else detail[0]["type"]
    assert found == kind
    assert ("secret" in result.text) == (error["kind"] != "program")
