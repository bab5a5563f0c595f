"""Shares of device time, as properties of any mixture of owners, batches and costs."""

from collections import Counter, defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from scheduler.fairness import Claimant, Shares

COSTS = st.floats(0.01, 100)
MIXTURES = st.lists(st.tuples(st.sampled_from("abc"), COSTS), min_size=1, max_size=8)
ROUNDING = 1e-6


def claimant(owner: str = "", cost_s: float = 1.0, priority: int = 0) -> Claimant:
    return Claimant(batch_id=uuid7(), owner=owner, priority=priority, cost_s=cost_s)


def serve(shares: Shares, hungry: list[Claimant], turns: int) -> dict[UUID, float]:
    """Serve one job at a time and return what each batch had, in seconds."""
    had: dict[UUID, float] = defaultdict(float)
    for _ in range(turns):
        turn = shares.next_served(hungry)
        shares.charge(turn, turn.cost_s)
        had[turn.batch_id] += turn.cost_s
    return had


@given(MIXTURES)
def test_owners_share_evenly_and_so_do_the_batches_of_each(
    mixture: list[tuple[str, float]],
) -> None:
    claimants = [claimant(owner, cost) for owner, cost in mixture]
    longest = max(each.cost_s for each in claimants)

    had = serve(Shares(), claimants, 400)

    owners = Counter[str]()
    for each in claimants:
        owners[each.owner] += had[each.batch_id]
        own = [had[other.batch_id] for other in claimants if other.owner == each.owner]
        assert max(own) - min(own) <= longest + ROUNDING
    assert max(owners.values()) - min(owners.values()) <= longest + ROUNDING


@given(MIXTURES, st.integers(1, 300))
def test_nobody_starves_whatever_the_others_have_had_before(
    mixture: list[tuple[str, float]], before: int
) -> None:
    claimants = [claimant(owner, cost) for owner, cost in mixture]
    shares = Shares()
    serve(shares, claimants, before)
    late = claimant("late", 0.01)
    longest = max(each.cost_s for each in claimants)

    had = serve(shares, [*claimants, late], len({each.owner for each in claimants}) + 1)

    others = sum(had.values()) - had[late.batch_id]
    assert had[late.batch_id] > 0
    assert others <= 3 * longest, "at most one job of each owner goes before it"


@given(st.integers(1, 200), COSTS)
def test_a_newcomer_and_a_batch_that_was_idle_have_no_credit(turns: int, cost_s: float) -> None:
    busy, idle = claimant("a", cost_s), claimant("b", cost_s)
    shares = Shares()
    serve(shares, [busy, idle], 2)
    serve(shares, [busy], turns)

    had = serve(shares, [busy, idle, claimant("c", cost_s)], 30)

    assert max(had.values()) - min(had.values()) <= 2 * cost_s + ROUNDING


@given(MIXTURES)
def test_a_higher_priority_is_served_first_completely(mixture: list[tuple[str, float]]) -> None:
    claimants = [claimant(owner, cost) for owner, cost in mixture]
    urgent = claimant("a", 1.0, priority=1)

    had = serve(Shares(), [*claimants, urgent], 50)

    assert set(had) == {urgent.batch_id}


def test_an_owner_of_many_batches_that_have_ended_is_not_charged_for_them() -> None:
    shares = Shares()
    ended = [claimant("a") for _ in range(50)]
    serve(shares, ended, 50)
    left, other = claimant("a"), claimant("b")

    shares.keep([left, other])
    had = serve(shares, [left, other], 20)

    assert had == {left.batch_id: 10.0, other.batch_id: 10.0}
