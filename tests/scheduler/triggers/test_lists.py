import json
import threading
from pathlib import Path

import pytest
import redis

from scheduler.errors import LedgerUnavailable, QueueUnavailable, SettingsInvalid
from scheduler.ledger import triggers
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.triggers.lists import ListReader
from tests.scheduler.triggers.rules import jobs_of, save_rule

DOCUMENTS = Path(__file__).parents[2] / "data" / "events"


def pushed(key: str) -> str:
    """Return what MinIO pushes for an object."""
    (record,) = json.loads((DOCUMENTS / "minio.json").read_text())["Records"]
    record["s3"]["object"]["key"] = key
    return json.dumps([{"Event": [record], "EventTime": record["eventTime"]}])


@pytest.fixture
def key(redis_prefix: str) -> str:
    return f"{redis_prefix}bucket-events"


def test_events_of_a_list_become_jobs_once_however_many_read_it(
    ledger: Ledger, redis_url: str, client: redis.Redis, key: str
) -> None:
    save_rule(ledger)
    client.rpush(key, "poison", *(pushed(f"in/{number % 40}.jpg") for number in range(150)))

    def drain() -> None:
        reader = ListReader(ledger, f"{redis_url}#{key}")
        while reader.step():
            pass

    threads = [threading.Thread(target=drain) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(jobs_of(ledger)) == 40
    assert client.llen(key) == 0
    with ledger.begin() as session:
        assert {each.source for each in triggers.dead(session, limit=9)} == {f"redis#{key}"}


def test_while_the_ledger_is_away_events_stay_in_the_list(
    settings: Settings, redis_url: str, client: redis.Redis, key: str
) -> None:
    nowhere = {"database_url": type(settings.database_url)("postgresql://u:p@127.0.0.1:1/x")}
    away = Ledger(settings.model_copy(update=nowhere))
    client.rpush(key, pushed("in/a.jpg"))

    with pytest.raises(LedgerUnavailable):
        ListReader(away, f"{redis_url}#{key}").step()

    away.close()
    assert client.llen(key) == 1


def test_a_list_that_cannot_be_read_says_why_and_not_its_password(ledger: Ledger) -> None:
    with pytest.raises(QueueUnavailable, match="redis#events: Redis gives no events") as caught:
        ListReader(ledger, "redis://:secret@127.0.0.1:1/0#events").step()
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingsInvalid, match="name the list behind a #"):
        ListReader(ledger, "redis://127.0.0.1:1/0")
