"""What a request's webhook tells is what asking for its result answers."""

import json
import threading
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from scheduler.ledger import jobs
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.tables import JobState
from scheduler.webhooks.process import sending
from tests.api.live import Live
from tests.consumer import consumer
from tests.processes import eventually

LANCZOS = "/queue/enlarger/lanczos"
BODY = {"image_url": "https://pictures.example/a.png", "scale": 2}
STORED = {"address": "file:///results/1a/out file.png", "content_type": "image/png"}
OUTCOME = {"objects": [STORED], "body": {"image": {"url": STORED["address"]}, "seed": 1}}
UNREADABLE = {"code": "image_unreadable", "kind": "request", "message": "no image",
              "field": "image_url"}  # fmt: skip


def end(api: Live, request_id: str, state: JobState, **how: Any) -> None:
    """End a request as a worker would."""
    ending = Ending(
        ticket=Ticket(UUID(request_id), 0),
        state=state,
        **{name: json.dumps(value) for name, value in how.items()},
    )
    with api.app.state.ledger.begin() as session:
        jobs.finish(session, [ending], from_states=(JobState.WAITING,))


def test_each_ending_is_told_as_the_api_answers_it(api: Live) -> None:
    local = {"webhook_allow": (ip_network("127.0.0.0/8"),)}
    settings = api.app.state.settings.model_copy(update=local)
    with consumer() as server, api.client() as client:
        hook = {"fal_webhook": server.url}
        made = [client.post(LANCZOS, json=BODY, params=hook).json() for _ in range(3)]
        made.append(client.post(LANCZOS, json={"scale": "many"}, params=hook).json())
        ids = [each["request_id"] for each in made]
        end(api, ids[0], JobState.SUCCEEDED, outcome=OUTCOME)
        end(api, ids[1], JobState.FAILED, error=UNREADABLE)
        client.put(made[2]["cancel_url"])
        with sending(settings, threading.Event()):
            eventually(lambda: len(server.received) == 4)
        answers = {each["request_id"]: client.get(each["response_url"]) for each in made}

    told = {each.json()["request_id"]: each.json() for each in server.received}
    assert {each: told[each]["payload"] for each in ids} == {
        each: answer.json() for each, answer in answers.items()
    }
    assert [answers[each].status_code for each in ids] == [200, 422, 499, 422]
    assert [told[each]["status"] for each in ids] == ["OK", "ERROR", "ERROR", "ERROR"]
    assert told[ids[0]]["payload"]["image"]["url"].startswith(api.url)
    assert told[ids[1]]["error"] == told[ids[3]]["error"] == "Invalid status code: 422"
    owners = {each.headers["x-fal-webhook-user-id"] for each in server.received}
    assert len(owners) == 1
    assert owners.pop().startswith("alice-")
