"""What followers are told where lines come twice, late or never, and the ledger goes away."""

import json
from typing import Any
from uuid import UUID

import psycopg

from scheduler import live
from scheduler.api.hub import Log
from scheduler.ledger import requests
from scheduler.ledger.session import Ledger
from scheduler.live import News
from scheduler.settings import Settings
from tests.api.live import live as live_api

JOB = UUID(int=1)


def news(epoch: int, first: int, *messages: str) -> News:
    lines = [{"message": message} for message in messages]
    return News(job_id=JOB, epoch=epoch, first=first, lines=lines)


def said(log: Log) -> list[Any]:
    return [line["message"] for line in log.lines]


def test_lines_are_taken_once_and_in_their_order() -> None:
    log = Log()

    heard = [
        log.hear(news(1, 0, "a", "b")),
        log.hear(news(1, 0, "a", "b")),
        log.hear(news(1, 1, "b", "c")),
        log.hear(news(1, 5, "f")),
    ]

    assert heard == [True, False, True, False]
    assert said(log) == ["a", "b", "c"]


def test_another_attempt_begins_a_new_log_and_an_earlier_one_is_over() -> None:
    log = Log()
    log.hear(news(1, 0, "a", "b"))

    assert log.hear(news(2, 0, "x"))
    assert not log.hear(news(1, 2, "c"))
    assert (log.epoch, said(log)) == (2, ["x"])


def test_a_log_is_bounded_and_what_is_not_ours_is_no_news() -> None:
    log = Log()
    log.hear(news(1, 0, *map(str, range(2 * live.MOST_LINES))))

    assert len(log.lines) == live.MOST_LINES
    assert live.unpack(live.pack([news(3, 1, "é")])) == [news(3, 1, "é")]
    assert [live.unpack(raw) for raw in (b"", b"{}", b"[1]", b'[["x", 1, 2, []]]')] == [[]] * 4


def test_a_stream_outlives_the_ledger_s_connections(settings: Settings) -> None:
    with live_api(settings) as api, api.client() as client:
        made = client.post("/queue/enlarger/lanczos", json={"image_url": "https://a.example/"})
        url = made.json()["status_url"] + "/stream"
        with client.stream("GET", url, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            cut_all_connections(settings)
            ledger = Ledger(settings, connections=1)
            with ledger.begin() as session:
                requests.cancel(session, UUID(made.json()["request_id"]))
            ledger.close()
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    assert told[-1]["status"] == "COMPLETED"


def cut_all_connections(settings: Settings) -> None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
