"""A queue that is full before anybody takes from it, and how long it takes to empty."""

import time
from collections.abc import Sequence
from uuid import UUID

import redis
from sqlalchemy import text

from scheduler import broker
from scheduler.ledger import queueing
from scheduler.ledger.intake import NewJob
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch

LOOK_S = 0.005
PATIENCE_S = 180.0


def fill(ledger: Ledger, settings: Settings, rows: Sequence[NewJob], *, bundle: int) -> UUID:
    """Make a batch of the rows and put all of it into Redis, in bundles of one size."""
    batch_id = make_batch(ledger, rows)
    with ledger.begin() as session:
        now = database_time(session)
        taken = queueing.take(session, Line(batch_id, ENDPOINT), limit=len(rows), now=now)
    tickets = [each.ticket for each in taken]
    bundles = [tickets[at : at + bundle] for at in range(0, len(tickets), bundle)]
    broker.publish(broker.make_app(settings), ENDPOINT, bundles)
    return batch_id


def seconds_to_empty(client: redis.Redis, prefix: str, queue: str) -> float:
    """Return the time from the first pop until no message is listed and none is in hand."""
    full = client.llen(prefix + queue)
    deadline = time.perf_counter() + PATIENCE_S
    while client.llen(prefix + queue) == full:
        assert time.perf_counter() < deadline, f"nobody takes anything from {queue}"
        time.sleep(LOOK_S)
    began = time.perf_counter()
    deadline = began + PATIENCE_S
    looks = 0
    ended = began
    # Between a pop and the worker's note of it a message is in neither place: believe two looks.
    while looks < 2:
        empty = not client.llen(prefix + queue) and not client.hlen(prefix + "unacked")
        ended = time.perf_counter() if looks == 0 else ended
        looks = looks + 1 if empty else 0
        assert ended < deadline, f"{queue} did not empty within {PATIENCE_S:g} s"
        time.sleep(LOOK_S)
    return ended - began


def succeeded(ledger: Ledger, batch_id: UUID) -> int:
    """Count the jobs of a batch that succeeded."""
    with ledger.begin() as session:
        found = session.scalar(
            text("select count(*) from jobs where batch_id = :id and state = 'succeeded'"),
            {"id": batch_id},
        )
    return int(found or 0)
