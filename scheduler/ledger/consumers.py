"""How destinations and subscriptions fare, and what follows from it. Nothing here commits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


class Tally(NamedTuple):
    """How many tries went well, and how many did not."""

    delivered: int
    failed: int


_COUNT = text("""
insert into delivery_rates (origin, hour, delivered, failed)
select origin, date_trunc('hour', clock_timestamp()), delivered, failed
from unnest(cast(:origins as text[]), cast(:delivered as bigint[]), cast(:failed as bigint[]))
    as given(origin, delivered, failed)
order by origin
on conflict (origin, hour) do update set delivered = delivery_rates.delivered + excluded.delivered,
    failed = delivery_rates.failed + excluded.failed
""")


def count(session: Session, tallies: Mapping[str, Tally]) -> None:
    """Add to the tries of each destination in this hour."""
    session.execute(
        _COUNT,
        {
            "origins": list(tallies),
            "delivered": [tally.delivered for tally in tallies.values()],
            "failed": [tally.failed for tally in tallies.values()],
        },
    )


_WELL = text("""
update subscriptions set failing_since = null, failures = 0
where id = any(:ids) and failing_since is not null
""")
_UNWELL = text("""
update subscriptions set failures = subscriptions.failures + given.failures,
    failing_since = coalesce(failing_since, clock_timestamp())
from unnest(cast(:ids as uuid[]), cast(:counts as int[])) as given(id, failures)
where subscriptions.id = given.id
""")
_PAUSE = text("""
update subscriptions set state = 'paused', reason = 'only failed since '
    || to_char(failing_since at time zone 'utc', 'YYYY-MM-DD HH24:MI') || ' UTC, at last: '
    || (cast(:answers as jsonb) ->> id::text)
where id = any(:ids) and state = 'active' and failures >= :least
    and failing_since < clock_timestamp() - :patience
returning id
""")
_DISABLE = text("""
update subscriptions set state = 'disabled', reason = 'its consumer answered 410 Gone'
where id = any(:ids) and state <> 'disabled'
""")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """When a subscription that only fails is paused: after so long, and so many failures."""

    time: timedelta
    failures: int


def note(
    session: Session,
    *,
    well: Sequence[UUID],
    unwell: Mapping[UUID, Sequence[str]],
    gone: Sequence[UUID],
    patience: Patience,
) -> list[UUID]:
    """Keep how subscriptions fare; disable those that want no more, pause those that only fail.

    Args:
        session: The transaction.
        well: Those that took a message just now.
        unwell: Those that only failed just now, with what they answered each time.
        gone: Those that answered 410.
        patience: When one is paused.

    Returns:
        Those that were paused by this call.
    """
    if well:
        session.execute(_WELL, {"ids": sorted(well)})
    if gone:
        session.execute(_DISABLE, {"ids": sorted(gone)})
    if not unwell:
        return []
    ids = sorted(unwell)
    session.execute(_UNWELL, {"ids": ids, "counts": [len(unwell[id_]) for id_ in ids]})
    answers = {str(id_): unwell[id_][-1] for id_ in ids}
    paused = session.scalars(
        _PAUSE,
        {
            "ids": ids,
            "answers": json.dumps(answers),
            "least": patience.failures,
            "patience": patience.time,
        },
    )
    return list(paused)


_RATES = text("""
select origin, cast(sum(delivered) as bigint) as delivered, cast(sum(failed) as bigint) as failed,
    max(hour) as last_hour
from delivery_rates where hour > now() - interval '24 hours'
group by origin order by origin limit :limit
""")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The tries of a destination within the last 24 hours."""

    origin: str
    delivered: int
    failed: int
    last_hour: datetime

    @property
    def success(self) -> float:
        """The part that went well, from 0 to 1."""
        return self.delivered / max(1, self.delivered + self.failed)


def rates(session: Session, *, limit: int = 1000) -> list[Rate]:
    """Return how each destination fared within the last 24 hours."""
    return [Rate(**row._mapping) for row in session.execute(_RATES, {"limit": limit})]


_FORGET = text("delete from delivery_rates where hour < now() - interval '7 days'")


def forget_old(session: Session) -> None:
    """Delete what is older than a week."""
    session.execute(_FORGET)
