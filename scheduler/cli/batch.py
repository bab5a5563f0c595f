"""Finding the batch that a person means, and describing it."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress

SHORT = 8
"""Enough of an id's end to name a batch."""

argument = click.argument("batch")


def short(batch: UUID) -> str:
    """Return the end of an id, by which the batch is found again."""
    return batch.hex[-SHORT:]


def as_dict(progress: "Progress") -> dict[str, Any]:
    """Return a batch as JSON has it."""
    return {**vars(progress), "id": str(progress.id), "ended": progress.ended}


def unsuccessful(progress: "Progress") -> int:
    """Count the rows that ended without a result."""
    return progress.failed + progress.rejected + progress.cancelled


def all_well(progress: "Progress") -> bool:
    """Tell whether every row has its result, and the whole source was read."""
    return not unsuccessful(progress) and progress.state != "unreadable"


def summary(progress: "Progress") -> str:
    """Say in one line what became of a batch's rows so far."""
    done = progress.succeeded - progress.existing
    parts = [f"{done:,} of {progress.total:,} enlarged"]
    if progress.reused:
        parts[0] += f" ({progress.reused:,} by a copy of an earlier result)"
    parts += [
        f"{count:,} {word}"
        for count, word in (
            (progress.existing, "there before"),
            (progress.failed, "failed"),
            (progress.rejected, "rejected"),
            (progress.cancelled, "cancelled"),
            (progress.skipped, "left out"),
        )
        if count
    ]
    return ", ".join(parts)
