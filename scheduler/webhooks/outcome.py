"""What follows from an answer: the delivery's next state, and how its consumer fares."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from scheduler.ledger import consumers, deliveries
from scheduler.ledger.consumers import Patience, Tally
from scheduler.ledger.deliveries import Settled, Taken
from scheduler.ledger.webhook_tables import DeliveryState
from scheduler.webhooks import schedule
from scheduler.webhooks.schedule import Answer, Verdict

PATIENCE = Patience(
    time=timedelta(seconds=schedule.PAUSE_AFTER_S), failures=schedule.PAUSE_AFTER_FAILURES
)


def settled(
    taken: Taken,
    answer: Answer,
    *,
    now: datetime,
    random: Callable[[], float],
    tried: bool = True,
) -> Settled:
    """Return what becomes of a delivery.

    Args:
        taken: The delivery, as it was before this try.
        answer: What came of the try.
        now: For a Retry-After that is a date.
        random: Draws from [0, 1).
        tried: Whether anything was sent.
    """
    verdict = schedule.judge(taken.style, answer)
    failures = taken.failures + (verdict is not Verdict.DELIVERED)
    wait_s = None
    if verdict is Verdict.FAILED:
        wait_s = schedule.wait_s(taken.style, failures, answer, now=now, random=random)
    state = DeliveryState.DEAD if wait_s is None else DeliveryState.DUE
    return Settled(
        key=taken.key,
        origin=taken.origin,
        state=DeliveryState.DELIVERED if verdict is Verdict.DELIVERED else state,
        failures=failures,
        tried=tried,
        status=answer.status,
        answer=answer.text,
        wait_s=wait_s or 0.0,
        gone=verdict is Verdict.GONE,
    )


def write(session: Session, outcomes: Sequence[Settled]) -> list[UUID]:
    """Write what came of tries, and return the subscriptions that were paused for it."""
    deliveries.settle(session, outcomes)
    tried = [each for each in outcomes if each.tried]
    consumers.count(session, tallies(tried))
    well, unwell = fares(tried)
    gone = {each.key.subscription_id for each in tried if each.gone}
    return consumers.note(session, well=well, unwell=unwell, gone=list(gone), patience=PATIENCE)


def tallies(tried: Sequence[Settled]) -> dict[str, Tally]:
    """Count the tries of each destination."""
    found: dict[str, Tally] = defaultdict(lambda: Tally(0, 0))
    for each in tried:
        well = each.state is DeliveryState.DELIVERED
        before = found[each.origin]
        found[each.origin] = Tally(before.delivered + well, before.failed + (not well))
    return dict(found)


def fares(tried: Sequence[Settled]) -> tuple[list[UUID], Mapping[UUID, Sequence[str]]]:
    """Part the subscriptions into those that took something, and those that only failed."""
    well = {each.key.subscription_id for each in tried if each.state is DeliveryState.DELIVERED}
    unwell: dict[UUID, list[str]] = defaultdict(list)
    for each in tried:
        if each.key.subscription_id not in well:
            unwell[each.key.subscription_id].append(f"{each.status or ''} {each.answer}"[:200])
    return sorted(well), unwell
