"""What S3 and its look-alikes send when an object arrives, read into one shape.

One object is told of in five ways: by S3 itself (also inside of an SNS notification), by
EventBridge, by MinIO and by Ceph's RGW. They agree on little. Where a record came from
(`eventSource`) decides how its key is spelt.

Sources: Amazon S3 user guide, "Event message structure" and "EventBridge event message structure";
Ceph, "Bucket Notifications"; MinIO, "Bucket notifications".
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from scheduler.errors import AddressInvalid, EventInvalid
from scheduler.manifests.rows import unstorable
from scheduler.storage.address import s3_address
from scheduler.triggers.arrival import Arrival

NOTHING_NEW = {"PutRetention", "PutLegalHold", "PutTagging", "PutAcl", "DeleteTagging"}
"""What MinIO calls a creation although no bytes were written."""
RESULT_MARK = "x-amz-meta-enlarger-job"
"""What the metadata of every result holds, see `workers.storeroom`."""
DEEPEST_WRAPPING = 3
"""EventBridge inside of SNS, and that once more: nobody's set-up is deeper."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One record of a document that can't be understood: why, and its text."""

    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a message tells of.

    Attributes:
        arrivals: The objects that were written.
        faults: The records that can't be understood.
        opaque: What Ceph was told to send along with each record; empty for everybody else's.
    """

    arrivals: Sequence[Arrival] = ()
    faults: Sequence[Fault] = ()
    opaque: Sequence[str] = ()


class _Lax(BaseModel):
    """Fields that nobody here asks for may come and go: the formats grow."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Bucket(_Lax):
    name: str


class _Object(_Lax):
    """An object as any of them describes it; EventBridge has the names with hyphens."""

    key: str
    etag: str = Field(default="", validation_alias=AliasChoices("eTag", "etag"))
    version: str | None = Field(
        default=None, validation_alias=AliasChoices("versionId", "version-id")
    )
    size: int | None = None  # Ceph sends it as a text
    metadata: list[dict[str, Any]] = []
    user_metadata: dict[str, Any] | None = Field(default=None, alias="userMetadata")


class _S3(_Lax):
    bucket: _Bucket
    object: _Object


class _Record(_Lax):
    """A record of S3, MinIO or Ceph."""

    name: str = Field(alias="eventName")
    source: str = Field(alias="eventSource")
    time: AwareDatetime = Field(alias="eventTime")
    s3: _S3


class _Bridged(_Lax):
    """An event of EventBridge."""

    time: AwareDatetime
    detail: _S3


def read(body: str | bytes) -> Document:
    """Return what a message tells of; what is no creation of an object tells of nothing.

    Raises:
        EventInvalid: This is no event of a bucket.
    """
    document = _parsed(body)
    for _ in range(DEEPEST_WRAPPING):
        if document.get("Type") != "Notification" or not isinstance(document.get("Message"), str):
            break
        document = _parsed(document["Message"])
    if document.get("Event") == "s3:TestEvent":
        return Document()
    if document.get("source") == "aws.s3" and "detail-type" in document:
        return _bridged(document)
    records = document.get("Records")
    if not isinstance(records, list):
        reason = (
            "event: there is neither a list of Records, as S3, MinIO and Ceph send it, nor a"
            " detail-type, as EventBridge does"
        )
        raise EventInvalid(reason, field="event")
    return _gathered(records)


def _parsed(body: str | bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise EventInvalid(f"event: is no JSON: {exc}", field="event") from exc
    if isinstance(value, list):
        return {"Records": _pushed(value)}
    if not isinstance(value, dict):
        reason = "event: is no JSON object"
        raise EventInvalid(reason, field="event")
    return value


def _pushed(entries: list[Any]) -> list[Any]:
    """Return the records of what MinIO pushes to a Redis list."""
    records: list[Any] = []
    for entry in entries:
        event = entry.get("Event") if isinstance(entry, dict) else None
        if not isinstance(event, list):
            reason = 'event: is a list, and not one of MinIO\'s, such as [{"Event": [...]}]'
            raise EventInvalid(reason, field="event")
        records += event
    return records


def _gathered(records: list[Any]) -> Document:
    """Read each record by itself, so that a bad one takes no good one with it."""
    arrivals: list[Arrival] = []
    faults: list[Fault] = []
    for record in records:
        try:
            arrivals += _arrivals(_Record.model_validate(record))
        except (EventInvalid, ValidationError) as exc:
            faults.append(Fault(reason=_reason(exc), text=_told(record)))
    opaque = [str(each.get("opaqueData", "")) for each in records if isinstance(each, dict)]
    return Document(arrivals=arrivals, faults=faults, opaque=opaque)


def _told(record: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return a document of one record, without what Ceph proves itself with."""
    if isinstance(record, dict):
        record = {name: value for name, value in record.items() if name != "opaqueData"}
    return json.dumps({"Records": [record]})


def _arrivals(record: _Record) -> Iterator[Arrival]:
    kind, _, how = record.name.removeprefix("s3:").partition(":")
    if kind != "ObjectCreated" or how in NOTHING_NEW:
        return
    spelt = _SPELLING.get(record.source)
    if spelt is None:
        known = ", ".join(_SPELLING)
        reason = f"eventSource: {record.source!r} is unknown; understood are {known}"
        raise EventInvalid(reason, field="eventSource")
    yield _arrival(record.s3, spelt(record.s3.object.key), record.time)


def _form_decoded(key: str) -> str:
    """Undo what forms do to a text: a plus sign is a space.

    Raises:
        EventInvalid: The bytes are no UTF-8.
    """
    try:
        return unquote_to_bytes(key.replace("+", " ")).decode()
    except UnicodeDecodeError as exc:
        reason = f"key: {key!r} holds bytes that are no UTF-8; rename the object"
        raise EventInvalid(reason, field="key") from exc


_SPELLING: Mapping[str, Callable[[str], str]] = {
    "aws:s3": _form_decoded,
    "minio:s3": _form_decoded,
    "ceph:s3": str,
}
"""How each source of records spells a key; `str` leaves it as it is."""


def _bridged(document: dict[str, Any]) -> Document:
    if document["detail-type"] != "Object Created":
        return Document()
    try:
        event = _Bridged.model_validate(document)
        return Document(arrivals=[_arrival(event.detail, event.detail.object.key, event.time)])
    except ValidationError as exc:
        raise EventInvalid(_reason(exc), field="event") from exc


def _arrival(told: _S3, key: str, at: datetime) -> Arrival:
    version = None if told.object.version in (None, "", "null") else told.object.version
    etag = told.object.etag.strip('"')
    if version is None and not etag:
        reason = "eTag: there is neither an ETag nor a version id, so a repetition can't be told"
        raise EventInvalid(reason, field="eTag")
    if any(unstorable(text) for text in (key, etag, version or "")):
        reason = f"key: {key!a} holds a NUL or half a character; rename the object"
        raise EventInvalid(reason, field="key")
    try:
        s3_address(told.bucket.name, key)
    except AddressInvalid as exc:
        raise EventInvalid(f"key: {exc}", field="key") from exc
    return Arrival(
        bucket=told.bucket.name,
        key=key,
        version=version,
        etag=etag,
        size=told.object.size,
        at=at.astimezone(UTC),
        is_result=_is_result(told.object),
    )


def _is_result(found: _Object) -> bool:
    """Tell whether the metadata, which only MinIO and Ceph send, marks a result of ours."""
    names = [str(entry.get("key", "")) for entry in found.metadata] + [*(found.user_metadata or {})]
    return RESULT_MARK in (name.lower() for name in names)


def _reason(exc: EventInvalid | ValidationError) -> str:
    if isinstance(exc, EventInvalid):
        return str(exc)
    error = exc.errors(include_url=False)[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
