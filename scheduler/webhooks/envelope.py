"""Our messages: one envelope for every event, after the Standard Webhooks specification.

`schema()` is the contract. A field may be added within a version; a consumer ignores what it does
not know. Messages come at least once and in no promised order: `id` tells doubles apart.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from scheduler.ledger.batches import Progress
from scheduler.ledger.outbox import Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import BatchState, JobState
from scheduler.naming import RESULTS, SHEET


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class StoredObject(_Part):
    """One file of a result."""

    address: str = Field(description="Where it lies, such as s3://bucket/key.")
    content_type: str | None = None
    size_bytes: int | None = None
    width: int | None = Field(default=None, description="In pixels.")
    height: int | None = Field(default=None, description="In pixels.")
    etag: str | None = None
    checksum: str | None = None


class JobError(_Part):
    """Why a job has no result."""

    code: str = Field(description="Stable; for programs.")
    kind: str = Field(description="request, world or program.")
    message: str = Field(description="For people.")
    field: str | None = Field(default=None, description="The argument at fault.")


class JobData(_Part):
    """A job, as the ledger has it when its message is written."""

    job_id: UUID
    batch_id: UUID
    line: int | None = Field(default=None, description="Its row in the source, from 1.")
    state: JobState
    endpoint: str | None = None
    source: str | None = None
    destination: str | None = None
    custom_id: str | None = Field(default=None, description="The id that its row gave it.")
    passthrough: dict[str, Any] | None = Field(default=None, description="What its row carries.")
    seed: int | None = None
    failures: int = Field(default=0, description="Tries that failed before this outcome.")
    started_at: datetime | None = None
    ended_at: datetime | None = None
    objects: list[StoredObject] = []
    result: dict[str, Any] | None = Field(default=None, description="The endpoint's own result.")
    error: JobError | None = None


class Report(_Part):
    """The files that a finished batch leaves behind."""

    results: str = Field(description="A JSON line for every row.")
    sheet: str = Field(description="A page with the pictures.")


class BatchData(_Part):
    """A batch and its counters, as the ledger has them when the message is written."""

    batch_id: UUID
    state: BatchState
    endpoint: str
    source: str
    destination: str
    reason: str | None = None
    created_at: datetime
    read_at: datetime | None = Field(default=None, description="When its source was read whole.")
    ended_at: datetime | None = None
    total: int = Field(description="Rows that were read so far.")
    succeeded: int
    failed: int
    cancelled: int
    rejected: int
    skipped: int
    bytes_out: int
    device_s: float
    report: Report | None = None


class SampleData(_Part):
    """What `enlarger webhooks test` sends."""

    message: str


class _Envelope(_Part):
    version: Literal[1] = 1
    id: str = Field(description="The same at every try, and in the header webhook-id.")
    timestamp: datetime = Field(description="When it happened.")


class JobEvent(_Envelope):
    """Something happened to a job."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled", "job.rejected"]
    data: JobData


class BatchEvent(_Envelope):
    """Something happened to a batch; `batch.finished` says in `data.state` how it ended."""

    type: Literal[
        "batch.submitted",
        "batch.paused",
        "batch.resumed",
        "batch.cancelled",
        "batch.retried",
        "batch.unreadable",
        "batch.finished",
        "batch.reported",
    ]
    data: BatchData


class SampleEvent(_Envelope):
    """Nothing happened: somebody tries whether messages arrive."""

    type: Literal["webhook.test"] = "webhook.test"
    data: SampleData


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that all our messages follow."""
    from pydantic.json_schema import models_json_schema

    events = (JobEvent, BatchEvent, SampleEvent)
    found, definitions = models_json_schema(
        [(each, "serialization") for each in events], ref_template="#/$defs/{model}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A message of an Enlarger webhook, version 1",
        "oneOf": [found[each, "serialization"] for each in events],
        **definitions,
    }


def message_id(event_id: int) -> str:
    """Return what names an event to its consumers, at every try and to all of them."""
    return f"evt_{event_id}"


def of_job(event: Noted, row: RowRecord | None) -> str:
    """Return the message of a job's event; `row` is None where the ledger has it no more."""
    data = _named(event) if row is None else _described(event, row)
    return JobEvent.model_validate({**_head(event), "data": data}).model_dump_json()


def _head(event: Noted) -> dict[str, Any]:
    return {"id": message_id(event.event_id), "timestamp": event.at, "type": event.type}


def _named(event: Noted) -> dict[str, Any]:
    return {
        "job_id": event.job_id,
        "batch_id": event.batch_id,
        "state": event.type.removeprefix("job."),
    }


def _described(event: Noted, row: RowRecord) -> dict[str, Any]:
    return {
        **vars(row),
        **_named(event),
        "objects": row.objects,
        "result": (row.outcome or {}).get("body"),
    }


def of_batch(event: Noted, progress: Progress) -> str:
    """Return the message of a batch's event."""
    data = {**vars(progress), "batch_id": progress.id, "report": _report(event, progress)}
    return BatchEvent.model_validate({**_head(event), "data": data}).model_dump_json()


def _report(event: Noted, progress: Progress) -> Report | None:
    if event.type != "batch.reported":
        return None
    folder = progress.destination
    return Report(results=f"{folder}{RESULTS}", sheet=f"{folder}{SHEET}")


def sample(at: datetime, id_: str) -> str:
    """Return a message that tells of nothing."""
    data = SampleData(message="This message tells of nothing; it only tries the way.")
    return SampleEvent(id=id_, timestamp=at, data=data).model_dump_json()
