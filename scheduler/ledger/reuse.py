"""What jobs have made, by what it was made of: so that no equal job need compute it again.

A hint, like a message in Redis: an entry that is missing costs a computation, one whose objects
have changed is noticed when they are copied. Entries name no row of the ledger, and outlive
those that they came from. Nothing here commits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session


@dataclass(frozen=True, kw_only=True)
class Made:
    """A job's result, for others that are equal to it.

    Attributes:
        owner: Whose; nobody else gets to see it.
        recipe: SHA-256 of all that decides what the result is, but for a seed that nobody chose.
        job_id: The job that computed it.
        result: A JSON text: `objects`, `weights` and `notes` as an outcome has them, and its `body`
            without the images.
    """

    owner: str
    recipe: bytes
    job_id: UUID
    result: str


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What `Made` became."""

    job_id: UUID
    result: dict[str, Any]


_REMEMBER = text("""
insert into reusable (owner, recipe, job_id, result)
select owner, recipe, job_id, cast(documents ->> cast(place - 1 as int) as jsonb)
from cast(:results as jsonb) as documents cross join unnest(cast(:owners as text[]),
    cast(:recipes as bytea[]), cast(:ids as uuid[])) with ordinality
    as g(owner, recipe, job_id, place)
order by owner, recipe
on conflict do nothing
""")


def remember(session: Session | Connection, made: Sequence[Made]) -> None:
    """Keep results; of two with one recipe, the first."""
    session.execute(
        _REMEMBER,
        {
            "owners": [each.owner for each in made],
            "recipes": [each.recipe for each in made],
            "ids": [each.job_id for each in made],
            "results": json.dumps([each.result for each in made], ensure_ascii=False),
        },
    )


_FIND = text("select job_id, result from reusable where owner = :owner and recipe = :recipe")


def find(session: Session | Connection, owner: str, recipe: bytes) -> Earlier | None:
    """Return what an equal job of the same owner made, if that is known."""
    row = session.execute(_FIND, {"owner": owner, "recipe": recipe}).one_or_none()
    return None if row is None else Earlier(job_id=row.job_id, result=row.result)


_FORGET = text(
    "delete from reusable where owner = :owner and recipe = :recipe and job_id = :job_id"
)


def forget(session: Session | Connection, owner: str, recipe: bytes, earlier: Earlier) -> None:
    """Drop an entry whose objects are no longer what they were, so that a newer one takes over."""
    session.execute(_FORGET, {"owner": owner, "recipe": recipe, "job_id": earlier.job_id})


_EXPIRE = text("""
with gone as (
    delete from reusable where (owner, recipe) in (
        select owner, recipe from reusable where made_at < :before limit :limit
        for update skip locked
    ) returning 1
)
select count(*) from gone
""")


def expire(session: Session, *, before: datetime, limit: int) -> int:
    """Drop up to `limit` entries that are older than `before`; count them."""
    return int(session.scalar(_EXPIRE, {"before": before, "limit": limit}) or 0)
