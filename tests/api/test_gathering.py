import asyncio
import threading
from collections.abc import Sequence

from scheduler.api.gathering import Gathering


def test_what_comes_as_a_writer_ends_is_written_as_well() -> None:
    """Whoever puts again as soon as it is answered does so before the writer's task is over."""

    async def run() -> list[int]:
        gathering = Gathering[int, int](list, writers=1, company=1, at_once=8)
        async with asyncio.timeout(10):
            return [await gathering.put(number) for number in range(20)]

    assert asyncio.run(run()) == list(range(20))


def test_what_comes_meanwhile_goes_together_and_each_hears_of_its_own() -> None:
    written: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def write(items: Sequence[int]) -> list[int | Exception]:
        written.append(list(items))
        begun.set()
        assert go_on.wait(10)
        return [ValueError(item) if item == 3 else -item for item in items]

    async def run() -> list[int | BaseException]:
        gathering = Gathering[int, int](write, writers=1, company=1, at_once=3)
        first = asyncio.create_task(gathering.put(0))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(gathering.put(number)) for number in range(1, 6)]
        await asyncio.sleep(0)
        others[1].cancel()  # hung up; it is written all the same
        go_on.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    found = asyncio.run(run())

    assert written == [[0], [1, 2, 3], [4, 5]]
    assert [found[0], found[1], found[4], found[5]] == [0, -1, -4, -5]
    assert [type(found[2]), type(found[3])] == [asyncio.CancelledError, ValueError]


def test_another_call_begins_only_for_enough() -> None:
    written: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def write(items: Sequence[int]) -> list[int | Exception]:
        written.append(list(items))
        begun.set()
        if items[0] == 0:
            go_on.wait(10)
        return list(items)

    async def run() -> list[list[int]]:
        gathering = Gathering[int, int](write, writers=2, company=3, at_once=8)
        waiting = [asyncio.create_task(gathering.put(0))]
        await asyncio.to_thread(begun.wait, 10)
        waiting += [asyncio.create_task(gathering.put(number)) for number in (1, 2, 3)]
        await asyncio.wait(waiting[1:], timeout=10)
        waiting += [asyncio.create_task(gathering.put(number)) for number in (4, 5)]
        await asyncio.sleep(0.05)
        before = list(written)
        go_on.set()
        await asyncio.gather(*waiting)
        return before

    assert asyncio.run(run()) == [[0], [1, 2, 3]]
    assert written[2:] == [[4, 5]]
