"""What the ledger keeps of a job that succeeded, and what its objects say of their origin."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from models import catalog
from models.schema import PublishedImage, Size
from models.version import VERSION
from scheduler.files import sealing
from scheduler.ledger.jobs import Claimed, Ending
from scheduler.ledger.reuse import Made
from scheduler.ledger.tables import JobState
from scheduler.storage import parse_address
from scheduler.storage.objects import ObjectInfo, Stored
from workers.verdict import to_json


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """One object of a result, stored and verified.

    Attributes:
        sealed: It can be read only with our key.
        written: False where it lay there before.
        field: Its own field in the result's body; None for one of the images.
    """

    address: str
    content_type: str
    size_bytes: int
    size: Size
    etag: str
    checksum: str
    sealed: bool = False
    written: bool = True
    field: str | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Return what an entry was made of."""
        rest = {name: entry[name] for name in entry if name not in ("width", "height")}
        return cls(size=Size(entry["width"], entry["height"]), **rest)

    @property
    def stored(self) -> Stored:
        """Return it as the store knows it."""
        return Stored(etag=self.etag, checksum=self.checksum, size=self.size_bytes)

    def entry(self) -> dict[str, Any]:
        """Return what `outcome.objects` holds of it."""
        return {
            "address": self.address,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "width": self.size.width,
            "height": self.size.height,
            "etag": self.etag,
            "checksum": self.checksum,
            **({"sealed": True} if self.sealed else {}),
            **({"field": self.field} if self.field else {}),
        }

    def published(self) -> dict[str, Any]:
        """Return it in the shape of the published endpoints."""
        return PublishedImage(
            url=self.address,
            content_type=self.content_type,
            file_name=parse_address(self.address).name,
            file_size=self.size_bytes,
            width=self.size.width,
            height=self.size.height,
        ).model_dump()


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything beside the objects that is worth keeping.

    Attributes:
        body: The endpoint's own fields, the seed included.
        input: Size and ETag of what was read.
        timings: Seconds by stage, such as `fetch_s`.
        worker: Its name.
        weights: The digests of the pipeline's weights, by file; none where it has none.
        reused_from: The job whose result was copied; None for one that was computed.
        tile_divisor: More than 1 where the device ran out of memory.
        notes: What the model has to say about how it was made.
    """

    body: Mapping[str, Any]
    input: Mapping[str, Any]
    timings: Mapping[str, float]
    worker: str
    weights: Mapping[str, str] = field(default_factory=dict)
    reused_from: UUID | None = None
    tile_divisor: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)


def succeeded(job: Claimed, stored: Sequence[StoredImage], story: Story, device_s: float) -> Ending:
    """Return the ending of a job whose objects are all stored."""
    images = [each.published() for each in stored if each.field is None]
    outcome: dict[str, Any] = {
        "objects": [each.entry() for each in stored],
        "body": {
            **_shown(job.endpoint, images),
            **{each.field: each.published() for each in stored if each.field is not None},
            **story.body,
        },
        "input": dict(story.input),
        "timings": {name: round(seconds, 4) for name, seconds in story.timings.items()},
        "worker": story.worker,
    }
    if story.weights:
        outcome["weights"] = dict(story.weights)
    if story.reused_from is not None:
        outcome["reused_from"] = str(story.reused_from)
    if story.tile_divisor > 1:
        outcome["tile_divisor"] = story.tile_divisor
    if story.notes:
        outcome["notes"] = dict(story.notes)
    return Ending(
        ticket=job.ticket,
        state=JobState.SUCCEEDED,
        outcome=to_json(outcome),
        bytes_out=sum(each.size_bytes for each in stored if each.written),
        device_s=device_s,
    )


def _shown(endpoint: str, images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a result body's field of images: a list, for some endpoints even where it is one."""
    is_list = len(images) > 1 or "images" in catalog.find(endpoint).result_class().model_fields
    return {"images": images} if is_list else {"image": images[0]}


def made(
    job: Claimed, recipe: bytes | None, stored: Sequence[StoredImage], story: Story
) -> Made | None:
    """Return a computed result as equal jobs may use it; None where they are not to."""
    if recipe is None:
        return None
    objects = [each.entry() for each in stored]
    told = {"body": story.body, "weights": story.weights, "notes": story.notes}
    result = to_json({"objects": objects, **{name: dict(each) for name, each in told.items()}})
    return Made(owner=job.owner, recipe=recipe, job_id=job.id, result=result)


def existing(job: Claimed, found: Sequence[ObjectInfo], *, worker: str) -> Ending:
    """Return the ending of a job whose images were there, and were not looked into."""
    objects = [
        {"address": each.address, "size_bytes": each.size, "etag": each.etag} for each in found
    ]
    images = [
        {
            "url": each.address,
            "content_type": each.content_type,
            "file_name": parse_address(each.address).name,
            "file_size": each.size,
        }
        for each in found
    ]
    body = _shown(job.endpoint, images)
    return Ending(
        ticket=job.ticket,
        state=JobState.SUCCEEDED,
        outcome=to_json({"existing": True, "objects": objects, "body": body, "worker": worker}),
    )


def provenance(job: Claimed, *, seed: int, weights: Mapping[str, str]) -> dict[str, str]:
    """Return where a result comes from, for its own metadata; what matters most comes first.

    The same for every attempt, so that a second one writes the very same bytes. Of a request that
    is not to be kept it does not tell what was asked for.
    """
    asked = {
        "source": job.source,
        "arguments": json.dumps(job.arguments, ensure_ascii=False, sort_keys=True),
        **({"weights": json.dumps(weights, sort_keys=True)} if weights else {}),
    }
    return {
        "job": str(job.id),
        "batch": str(job.batch_id),
        "endpoint": job.endpoint,
        "version": VERSION,
        "seed": str(seed),
        **({} if sealing.is_hidden(job.arguments) else asked),
    }
