"""Where the dispatcher stands, noted now and then for the one that leads after it.

A hint, like a message in Redis. Without it a new leader looks once past the entries of everything
that has passed through, which no vacuum can remove for as long as any snapshot is older than they
are. Nothing here commits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.queueing import Line, Place

MARGIN = timedelta(seconds=30)
"""By so much a note may be older than it says: longer than a step takes to commit."""


@dataclass(frozen=True, kw_only=True)
class Bookmark:
    """What a dispatcher knew.

    Attributes:
        lines: Each from the place up to which it was taken.
        handed: Jobs that may be queued or running.
    """

    lines: Sequence[Line]
    handed: Sequence[UUID]


_NOTE = text("""
insert into bookmarks (id, places, handed, noted_at)
values (1, cast(:places as jsonb), :handed, :now)
on conflict (id) do update
set places = excluded.places, handed = excluded.handed, noted_at = excluded.noted_at
where bookmarks.noted_at < excluded.noted_at
""")


def note(session: Session, bookmark: Bookmark, *, now: datetime) -> None:
    """Keep a bookmark, unless a newer one is there: two may believe for a moment that they lead."""
    places = [
        [str(line.batch_id), line.pipeline, line.after.run_after.isoformat(), line.after.line]
        for line in bookmark.lines
    ]
    parameters = {"places": json.dumps(places), "handed": list(bookmark.handed), "now": now}
    session.execute(_NOTE, parameters)


_FIND = text("select places, handed, noted_at from bookmarks where id = 1")
# By pipeline, and not before the note: what the index has of earlier times is not looked at.
_QUEUED_SINCE = text("""
select id from jobs
where state = 'queued' and pipeline = any(cast(:pipelines as text[])) and queued_at > :since
""")


def find(session: Session, pipelines: Sequence[str]) -> Bookmark | None:
    """Return the last bookmark, with the jobs of these pipelines that were queued since.

    What was queued after the note and is running by now is missing: a worker may be thought less
    busy than it is until that has ended.
    """
    row = session.execute(_FIND).one_or_none()
    if row is None:
        return None
    since = session.scalars(
        _QUEUED_SINCE, {"pipelines": list(pipelines), "since": row.noted_at - MARGIN}
    )
    return Bookmark(lines=[_line(*each) for each in row.places], handed=list({*row.handed, *since}))


def _line(batch_id: str, pipeline: str, run_after: str, line: int) -> Line:
    return Line(UUID(batch_id), pipeline, Place(datetime.fromisoformat(run_after), line))
