"""Which worker is given which pipeline."""

from uuid_utils.compat import uuid7

from scheduler.placement import Demand, Hall, Seat, home_of

A, B = "enlarger/a", "enlarger/b"


def place(seats: list[Seat], demands: list[Demand]) -> tuple[Seat, Demand] | None:
    with Hall(seats).place(demands) as chosen:
        return chosen


def seat(*home: str, load_s: float = 0.0, ready: tuple[str, ...] = (A, B)) -> Seat:
    return Seat(worker_id=uuid7(), ready=frozenset(ready), home=frozenset(home), load_s=load_s)


def demand(
    pipeline: str, *, ahead_s: float = 10.0, overdue: bool = False, priority: int = 0
) -> Demand:
    return Demand(pipeline=pipeline, priority=priority, ahead_s=ahead_s, overdue=overdue)


def test_a_bundle_goes_to_the_worker_that_has_its_pipeline_resident() -> None:
    other, resident = seat(B), seat(A, load_s=5)

    assert place([other, resident], [demand(A)]) == (resident, demand(A))


def test_of_two_workers_that_have_it_the_less_loaded_is_chosen() -> None:
    busy, idle = seat(A, load_s=5), seat(A, load_s=1)

    assert place([busy, idle], [demand(A)]) == (idle, demand(A))


def test_a_worker_stays_with_its_own_while_that_has_work() -> None:
    worker = seat(A, load_s=5)

    assert place([worker], [demand(B), demand(A)]) == (worker, demand(A))


def test_a_worker_that_is_full_of_its_own_is_given_nothing_else() -> None:
    full = seat(A, load_s=10.1)

    assert place([full], [demand(B, ahead_s=1000), demand(A)]) is None


def test_a_worker_whose_own_has_nothing_left_takes_another() -> None:
    worker = seat(A, load_s=5)

    assert place([worker], [demand(B)]) == (worker, demand(B))


def test_what_was_left_waiting_for_too_long_makes_a_worker_switch() -> None:
    worker = seat(A)
    overdue = demand(B, overdue=True)

    assert place([worker], [demand(A), overdue]) == (worker, overdue)


def test_workers_without_anything_part_the_pipelines_among_themselves() -> None:
    first, second = seat(), seat()
    demands = [demand(A), demand(B)]

    one = place([first, second], demands)
    assert one is not None
    one[0].home, one[0].load_s = frozenset({one[1].pipeline}), one[1].ahead_s + 1
    other = place([first, second], demands)

    assert other is not None
    assert {one[1].pipeline, other[1].pipeline} == {A, B}
    assert one[0] is not other[0]


def test_with_both_resident_the_one_that_was_fed_longer_ago_is_next() -> None:
    worker = seat(A, B)

    assert place([worker], [demand(B), demand(A)]) == (worker, demand(B))


def test_a_higher_priority_makes_a_worker_switch() -> None:
    worker = seat(A)
    urgent = demand(B, priority=1)

    assert place([worker], [demand(A), urgent]) == (worker, urgent)


def test_what_no_worker_can_serve_here_is_given_to_none_of_them() -> None:
    assert place([seat(A, ready=(A,))], [demand(B)]) is None


def test_what_was_given_last_counts_as_resident_before_the_worker_says_so() -> None:
    assert home_of([A], B) == {B}
    assert home_of([A, B], B) == {A, B}
    assert home_of([A, B], None) == {A, B}


def test_what_a_worker_was_given_goes_for_the_next_choice() -> None:
    first, second = seat(A, load_s=1), seat(A, load_s=2)
    hall = Hall([first, second])

    with hall.place([demand(A, ahead_s=10)]) as one:
        assert one is not None
        one[0].load_s += 5
    with hall.place([demand(A, ahead_s=10)]) as two:
        assert two is not None
        two[0].load_s += 20
        two[0].home = frozenset({B})
    with hall.place([demand(B, ahead_s=100)]) as three:
        assert three is not None

    assert (one[0], two[0], three[0]) == (first, second, second)
