"""Valid ledger objects; a test writes only the fields that it is about."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from models.version import VERSION
from scheduler.ledger import batches, fleet, intake
from scheduler.ledger.batches import Submission
from scheduler.ledger.fleet import Self
from scheduler.ledger.intake import Chunk, NewJob
from scheduler.ledger.session import Ledger

ENDPOINT = "enlarger/lanczos"


def make_submission(**overrides: Any) -> Submission:
    id_ = uuid7()
    fields: dict[str, Any] = {
        "id": id_,
        "owner": "",
        "priority": 0,
        "source": "file:///photos/",
        "source_version": "1",
        "destination": "file:///results/",
        "endpoint": ENDPOINT,
        "arguments": "{}",
        "options": json.dumps({"in_place": False, "only_if_absent": False}),
        "fingerprint": str(id_),
    }
    return Submission(**fields | overrides)


def make_row(line: int, **overrides: Any) -> NewJob:
    fields: dict[str, Any] = {
        "line": line,
        "pipeline": ENDPOINT,
        "endpoint": ENDPOINT,
        "source": f"file:///photos/{line}.png",
        "source_version": None,
        "destination": f"file:///results/{line}.png",
        "custom_id": None,
        "arguments": "{}",
        "passthrough": None,
        "seed": 7,
    }
    return NewJob(**fields | overrides)


def make_rejected(line: int) -> NewJob:
    error = {"code": "row_invalid", "kind": "request", "field": "source", "message": "bad"}
    return make_row(line, source=None, destination=None, error=json.dumps(error))


def make_batch(ledger: Ledger, rows: Sequence[NewJob] | int = 3, **overrides: Any) -> UUID:
    """Submit a batch and read all its rows."""
    submission = make_submission(**overrides)
    some = [make_row(line) for line in range(1, rows + 1)] if isinstance(rows, int) else rows
    with ledger.begin() as session:
        batches.submit(session, submission, again=False)
        intake.append(session, submission.id, make_chunk(some))
    return submission.id


def make_chunk(rows: Sequence[NewJob], **overrides: Any) -> Chunk:
    fields: dict[str, Any] = {
        "rows": rows,
        "skipped": 0,
        "before": None,
        "cursor": {"line": rows[-1].line} if rows else {},
        "last": True,
    }
    return Chunk(**fields | overrides)


def make_worker(
    ledger: Ledger, *, lease_s: float = 60.0, name: str = "host:1", **overrides: Any
) -> UUID:
    fields: dict[str, Any] = {
        "id": uuid7(),
        "name": name,
        "device": "cpu",
        "memory_bytes": 2**30,
        "version": VERSION,
        "ready": (ENDPOINT,),
    }
    worker = Self(**fields | overrides)
    with ledger.begin() as session:
        fleet.renew(session, worker, lease_s=lease_s)
    return worker.id
