"""What workers say of jobs that somebody follows: a Redis stream, bounded, and a hint like all.

A worker adds at most two entries a second, each with what is new of all its jobs. Whoever misses
some, or reads again, takes no harm: a line's place in its job's log says whether it is new.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

FOLLOWED = "followed"
"""The option of a batch, or of a feed, whose jobs say what they are doing."""
STREAM = "live"
"""The stream's key, behind the prefix of all keys."""
FIELD = b"news"
STREAM_ENTRIES = 2000
"""About so many are kept, for processes that start later."""
MOST_LINES = 100
"""Of one attempt's log; what comes after is left out."""
MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a job's log."""

    at: float
    message: str
    level: str = "INFO"

    def document(self) -> dict[str, str]:
        """Return the line as fal's protocol has it."""
        moment = datetime.fromtimestamp(self.at, UTC)
        return {
            "message": self.message,
            "level": self.level,
            "source": "USER",
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


@dataclass(frozen=True, kw_only=True)
class News:
    """New lines of a job's log: the attempt, the place of the first, and the lines."""

    job_id: UUID
    epoch: int
    first: int
    lines: Sequence[Mapping[str, Any]]


def pack(news: Sequence[News]) -> bytes:
    """Return news as one entry of the stream has them."""
    return json.dumps(
        [[str(each.job_id), each.epoch, each.first, list(each.lines)] for each in news],
        ensure_ascii=False,
    ).encode(errors="replace")


def unpack(raw: bytes) -> list[News]:
    """Read an entry of the stream; what is not ours is no news."""
    try:
        return [
            News(job_id=UUID(job_id), epoch=int(epoch), first=int(first), lines=list(lines))
            for job_id, epoch, first, lines in json.loads(raw)
        ]
    except (ValueError, TypeError):
        return []
