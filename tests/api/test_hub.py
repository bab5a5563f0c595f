"""Lines of a log that come twice, late, or not at all."""

from typing import Any
from uuid import UUID

from scheduler import live
from scheduler.api.hub import Log
from scheduler.live import News

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
