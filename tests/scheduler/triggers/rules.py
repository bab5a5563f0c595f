"""Rules and arrivals; a test writes only the fields that it is about."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from uuid_utils.compat import uuid7

from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Job
from scheduler.ledger.trigger_tables import Trigger
from scheduler.triggers.arrival import Arrival
from scheduler.triggers.rules import parse_rule
from tests.factories import ENDPOINT

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def make_rule(**overrides: Any) -> Trigger:
    fields: dict[str, Any] = {
        "name": "photos",
        "bucket": "photos",
        "prefix": "in/",
        "endpoint": ENDPOINT,
        "to": "s3://results/enlarged/",
    }
    return Trigger(id=uuid7(), paused=False, **parse_rule(fields | overrides).columns())


def save_rule(ledger: Ledger, **overrides: Any) -> Trigger:
    rule = make_rule(**overrides)
    with ledger.begin() as session:
        session.add(rule)
    return rule


def make_arrival(key: str = "in/a.jpg", **overrides: Any) -> Arrival:
    fields: dict[str, Any] = {
        "bucket": "photos",
        "key": key,
        "version": None,
        "etag": "e1",
        "size": 100,
        "at": AT,
    }
    return Arrival(**fields | overrides)


def jobs_of(ledger: Ledger) -> list[Job]:
    with ledger.begin() as session:
        return list(session.scalars(select(Job).order_by(Job.line)))
