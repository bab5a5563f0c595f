from pathlib import Path

from scheduler.triggers import rules
from tests.api.live import Live
from tests.factories import ENDPOINT
from tests.scheduler.triggers.rules import save_rule

MINIO = (Path(__file__).parents[1] / "data" / "events" / "minio.json").read_bytes()
KNOWN = {"authorization": "Bearer a token for tests"}


def test_a_bucket_tells_the_api_of_its_objects(api: Live) -> None:
    save_rule(api.app.state.ledger, name="over-http", endpoint=ENDPOINT)
    with api.client(headers=KNOWN) as client:
        replies = [client.post("/events/s3", content=MINIO) for _ in range(2)]
        stranger = client.post("/events/s3", content=MINIO, headers={"authorization": "Bearer no"})
        large = client.post("/events/s3", content=b"x" * (2**20 + 1))
    rules.remove(api.app.state.ledger, "over-http")

    assert [(reply.status_code, reply.json()) for reply in replies] == [
        (200, {"jobs": 1}),
        (200, {"jobs": 0}),
    ]
    assert stranger.status_code == 401
    assert "ENLARGER_EVENT_TOKEN" in stranger.json()["detail"]
    assert large.status_code == 413
