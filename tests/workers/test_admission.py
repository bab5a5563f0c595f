"""The byte budget: never exceeded, first come first served, and nobody waits for ever."""

import random
import threading
import time

import pytest

from models.errors import Cancelled
from workers.admission import Admission


def nobody_cancels() -> None:
    """Be the check of a job that is wanted."""


def test_the_budget_is_never_exceeded_and_everybody_gets_a_turn() -> None:
    admission = Admission(100)
    chance = random.Random(7)
    seen: list[int] = []

    def work(sizes: list[int]) -> None:
        for size in sizes:
            reservation = admission.reserve(size, nobody_cancels)
            seen.append(admission.held_bytes)
            time.sleep(0.0005)
            reservation.release()

    sizes = [[chance.choice([5, 30, 60, 100, 250]) for _ in range(25)] for _ in range(8)]
    threads = [threading.Thread(target=work, args=(each,)) for each in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(seen) == 200
    assert max(seen) <= 100
    assert admission.held_bytes == 0


def test_a_job_larger_than_the_whole_budget_is_held_alone() -> None:
    admission = Admission(100)
    small = admission.reserve(1, nobody_cancels)
    inside = threading.Event()

    def huge() -> None:
        admission.reserve(10**12, nobody_cancels)
        inside.set()

    thread = threading.Thread(target=huge)
    thread.start()
    came_beside_it = inside.wait(0.3)
    small.release()

    assert not came_beside_it
    assert inside.wait(10)
    assert admission.held_bytes == 100
    thread.join()


def test_a_small_job_does_not_pass_a_large_one_that_came_first() -> None:
    admission = Admission(100)
    first = admission.reserve(60, nobody_cancels)
    order: list[str] = []
    waiting = threading.Event()

    def large() -> None:
        reservation = admission.reserve(80, waiting.set)
        order.append("large")
        reservation.release()

    def small() -> None:
        admission.reserve(10, nobody_cancels)
        order.append("small")

    threads = [threading.Thread(target=large), threading.Thread(target=small)]
    threads[0].start()
    assert waiting.wait(10), "the large one has looked around once, so it is in the line"
    threads[1].start()
    threads[1].join(0.3)
    first.release()
    for thread in threads:
        thread.join(10)

    assert order == ["large", "small"]


def test_a_job_that_nobody_wants_leaves_the_line() -> None:
    admission = Admission(100)
    first = admission.reserve(100, nobody_cancels)

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        admission.reserve(50, cancelled)
    first.release()

    assert admission.held_bytes == 0
    admission.reserve(100, nobody_cancels)
    assert admission.held_bytes == 100


def test_releasing_twice_gives_back_once() -> None:
    admission = Admission(100)
    admission.reserve(70, nobody_cancels)
    other = admission.reserve(20, nobody_cancels)

    other.release()
    other.release()

    assert admission.held_bytes == 70
