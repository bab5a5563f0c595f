"""What is on the device and what leaves it; the device is the only thing that is pretended."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch

from models.catalog import Endpoint
from models.checkpoint.manifest import LocalWeights
from models.errors import Cancelled, OutOfDeviceMemory, UnknownEndpoint
from models.options import NoOptions
from models.upscaler import Upscaler, Work
from workers.devices import Device
from workers.residency import Residency, is_out_of_memory
from workers.stock import Stock

CPU, GPU = (Device(id=id, name="test", memory_bytes=100) for id in ("cpu", "cuda:0"))


@dataclass
class Loaded:
    """A pipeline that remembers the folder that it was loaded from."""

    weights: LocalWeights | None
    loads: ClassVar[list[str]] = []

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        cls.loads.append(f"{weights and weights.files['net'].parent.name} {device} {dtype}")
        return cls(weights)

    def upscale(self, picture: Any, request: object, context: object) -> Any:
        return picture()


@pytest.fixture(autouse=True)
def _forget_loads() -> None:
    Loaded.loads.clear()


def make_endpoint(name: str, **overrides: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "id": name,
        "summary": name,
        "schema": "models.lanczos.schema:LanczosRequest",
        "pipeline": f"{__name__}:Loaded",
        "weights": f"tests.workers.manifests:{name.upper()}",
    }
    return Endpoint(**fields | overrides)


def make_residency(
    tmp_path: Path, sizes: dict[str, int], *, device: Device = CPU, **overrides: Any
) -> Residency:
    """Return a residency of 100 bytes over endpoints whose weights have these sizes."""
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(bytes(size))
    endpoints = {name: make_endpoint(name, **overrides) for name in sizes}
    return Residency(Stock(endpoints=endpoints, folder=tmp_path), device, budget_bytes=100)


def use(residency: Residency, *names: str) -> None:
    for name in names:
        with residency.resident(name):
            pass


def test_a_pipeline_is_loaded_once_from_its_own_folder(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 10})

    use(residency, "a", "a")

    assert Loaded.loads == ["a cpu float32"]
    assert residency.sizes() == {"a": 10}


def test_the_least_recently_used_leaves_when_another_needs_the_room(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 40, "b": 40, "c": 40})

    use(residency, "a", "b", "a", "c")

    assert set(residency.sizes()) == {"a", "c"}


def test_one_that_is_larger_than_the_budget_is_loaded_with_nothing_beside_it(
    tmp_path: Path,
) -> None:
    residency = make_residency(tmp_path, {"a": 40, "huge": 500})

    use(residency, "a", "huge")

    assert set(residency.sizes()) == {"huge"}


@dataclass
class Moving(Loaded):
    """One that can wait on the host, and notes where it is."""

    place: str = "cuda:0"
    room: ClassVar[int | None] = None
    """How often it may still be moved before there is no room; None for always."""

    def move(self, device: str) -> None:
        if Moving.room is not None:
            Moving.room -= 1
            if Moving.room < 0:
                raise torch.OutOfMemoryError
        self.place = device


def make_lending(tmp_path: Path, lent_bytes: int) -> Residency:
    """Return a residency of 100 bytes on a GPU, for a borrower of 60 and what is lent to it."""
    Moving.room = None
    sizes = {"a": 60, "lent": lent_bytes}
    return make_residency(tmp_path, sizes, device=GPU, pipeline=f"{__name__}:Moving")


def places(residency: Residency) -> dict[str, str]:
    """Return where each pipeline is."""
    return {name: each.upscaler.place for name, each in residency._loaded.items()}


def borrowing(residency: Residency, note: Callable[[], object]) -> Callable[[Upscaler, int], Any]:
    """Return a job's work that borrows, and takes notes in the midst of that."""
    work = Work(note, None, None)
    return lambda _upscaler, _divisor: residency.borrow("lent", work)


@pytest.mark.parametrize(("lent_bytes", "fits"), [(40, True), (41, False)])
def test_what_is_lent_stays_where_both_have_room_and_else_only_one_is_there(
    tmp_path: Path, lent_bytes: int, fits: bool
) -> None:
    residency = make_lending(tmp_path, lent_bytes)
    seen = []
    for _ in range(2):
        found, _ = residency.enlarge("a", borrowing(residency, lambda: places(residency)))
        seen += [found, places(residency)]

    here, away = "cuda:0", "cpu"
    meanwhile = {"a": here if fits else away, "lent#only": here}
    after = {"a": here, "lent#only": here if fits else away}
    assert seen == [meanwhile, after] * 2
    assert [each.split()[0] for each in Moving.loads] == ["a", "lent"]


def test_after_a_lack_of_memory_the_two_are_not_side_by_side_any_more(tmp_path: Path) -> None:
    residency = make_lending(tmp_path, 40)

    def once() -> dict[str, str]:
        found = places(residency)
        if found["a"] == "cuda:0":
            raise torch.OutOfMemoryError
        return found

    first, second = (residency.enlarge("a", borrowing(residency, once)) for _ in range(2))

    assert first == second == ({"a": "cpu", "lent#only": "cuda:0"}, 1)
    assert places(residency) == {"a": "cuda:0", "lent#only": "cpu"}


def test_a_borrower_that_finds_no_room_on_its_way_back_comes_with_the_next_try(
    tmp_path: Path,
) -> None:
    residency = make_lending(tmp_path, 60)
    Moving.room = 2  # it leaves, what was lent leaves, and then

    tries = []

    def work(upscaler: Upscaler, divisor: int) -> object:
        tries.append(upscaler.place)
        return borrowing(residency, lambda: "image")(upscaler, divisor)

    with pytest.raises(torch.OutOfMemoryError), residency.resident("a") as upscaler:
        work(upscaler, 1)
    Moving.room = None
    made, divisor = residency.enlarge("a", work)

    assert (made, divisor, tries) == ("image", 1, ["cuda:0"] * 2)
    assert places(residency)["a"] == "cuda:0"


def test_whoever_borrowed_is_there_again_after_what_was_lent_failed(tmp_path: Path) -> None:
    residency = make_lending(tmp_path, 60)

    def fail() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        residency.enlarge("a", borrowing(residency, fail))

    with residency.resident("a") as found:
        assert found.place == "cuda:0"


def test_what_cannot_wait_on_the_host_leaves_after_it_was_lent(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 60, "lent": 60})

    for _ in range(2):
        residency.enlarge("a", borrowing(residency, lambda: "image"))

    assert set(residency.sizes()) == {"a"}
    assert Loaded.loads.count("lent cpu float32") == 2


def test_an_endpoint_that_is_not_served_is_named(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 1})

    with pytest.raises(UnknownEndpoint, match="choose one of a"):
        use(residency, "z")


def full_until(allowed: Callable[[set[str], int], bool], residency: Residency, tried: list[int]):
    """Return work on a device that has room only under a condition on what else is on it."""

    def work(_upscaler: Upscaler, divisor: int) -> str:
        tried.append(divisor)
        if not allowed(set(residency.sizes()), divisor):
            raise torch.OutOfMemoryError
        return "image"

    return work


def test_out_of_memory_first_takes_everything_else_off_the_device(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 30, "b": 30, "c": 30})
    use(residency, "b", "c")
    tried: list[int] = []

    made, divisor = residency.enlarge(
        "a", full_until(lambda there, _divisor: there == {"a"}, residency, tried)
    )

    assert (made, divisor, tried) == ("image", 1, [1, 1])


def test_then_the_tiles_are_halved_again_and_again(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 30}, tiled=True)
    tried: list[int] = []

    _, divisor = residency.enlarge(
        "a", full_until(lambda _there, divisor: divisor >= 4, residency, tried)
    )

    assert (divisor, tried) == (4, [1, 1, 2, 4])


@pytest.mark.parametrize(("tiled", "expected"), [(True, [1, 1, 2, 4, 8]), (False, [1, 1])])
def test_when_nothing_helps_the_world_is_unwell(
    tmp_path: Path, tiled: bool, expected: list[int]
) -> None:
    residency = make_residency(tmp_path, {"a": 30}, tiled=tiled)
    tried: list[int] = []

    with pytest.raises(OutOfDeviceMemory, match="no room for this picture"):
        residency.enlarge("a", full_until(lambda *_: False, residency, tried))

    assert tried == expected


def test_what_a_failed_try_held_is_free_before_the_next(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 1})
    alive: list[int] = [0]

    class Tensor:
        def __init__(self) -> None:
            alive[0] += 1

        def __del__(self) -> None:
            alive[0] -= 1

    def work(_upscaler: Upscaler, _divisor: int) -> str:
        seen.append(alive[0])
        tensor = Tensor()  # in this frame, which the exception's traceback holds
        if len(seen) == 1:
            raise MemoryError
        return f"image of {type(tensor).__name__}"

    seen: list[int] = []
    residency.enlarge("a", work)

    assert seen == [0, 0]


def test_other_errors_pass_untouched(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 1})

    def work(_upscaler: Upscaler, _divisor: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        residency.enlarge("a", work)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("no"), False),
    ],
)
def test_a_lack_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_pipeline_that_does_not_fit_by_itself_is_named_at_once(tmp_path: Path) -> None:
    residency = make_residency(tmp_path, {"a": 1}, tiled=True, pipeline=f"{__name__}:TooLarge")
    TooLarge.tries = 0

    with pytest.raises(OutOfDeviceMemory, match="no room for a itself"):
        residency.enlarge("a", lambda *_: "image")

    assert TooLarge.tries == 1


class TooLarge(Loaded):
    """A pipeline that no device has room for."""

    tries: ClassVar[int] = 0

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        cls.tries += 1
        raise torch.OutOfMemoryError
