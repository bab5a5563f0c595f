"""Which pipelines are on the device: the least recently used leave when another needs the room.

Only the device thread comes here, so nothing is locked.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import structlog

from models import catalog
from models.errors import OutOfDeviceMemory
from models.upscaler import Movable, Result, Upscaler, Work
from workers.devices import Device
from workers.stock import Stock

log = structlog.get_logger()

MOST_DIVISOR = 8
"""Tiles are halved up to three times; smaller ones cost more in seams than they save."""

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A loaded pipeline and the bytes it was seen to take."""

    upscaler: Upscaler
    size_bytes: int


class Residency:
    """The pipelines of one device, under a budget of its memory."""

    def __init__(
        self,
        stock: Stock,
        device: Device,
        *,
        budget_bytes: int,
    ) -> None:
        self._stock = stock
        self._device = device
        self._budget = budget_bytes
        self._loaded: OrderedDict[str, Resident] = OrderedDict()
        self._waiting: set[str] = set()
        """Those that are loaded, but on the host."""
        self._in_use: list[str] = []
        self._crowded: set[str] = set()
        """Those that ran out of memory once, maybe for what they had been lent beside them."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each pipeline takes, even if it waits; any thread may ask."""
        return {name: each.size_bytes for name, each in list(self._loaded.items())}

    @contextmanager
    def resident(self, pipeline: str) -> Iterator[Upscaler]:
        """Have a pipeline on the device for the length of a block.

        Raises:
            UnknownEndpoint: No such endpoint is served here.
            WeightsError: Its files are not here, or do not fit the network.
        """
        self._in_use.append(pipeline)
        try:
            yield self._get(pipeline)
        finally:
            self._in_use.pop()

    def borrow(self, endpoint: str, work: Work) -> Result:
        """Have an endpoint's pipeline do something for the one that is in use.

        Where it has variants, the first one. Both stay on the device if its budget is enough for
        both, and the borrower never ran out of memory. Otherwise there is one at a time: the
        borrower waits on the host, then what it was lent does, or leaves if it can't wait there.
        """
        borrower, lent = self._in_use[-1], self._stock.endpoint(endpoint).pipelines()[0]
        if not self._have_room(borrower, lent):
            self._set_aside(borrower)
        result = self._lend(lent, work)
        if not self._have_room(borrower, lent):
            self._set_aside(lent)
        self._get(borrower)
        return result

    def _lend(self, pipeline: str, work: Work) -> Result:
        """Use a pipeline, and know it no longer afterwards, so that it can be dropped."""
        with self.resident(pipeline) as upscaler:
            return upscaler.upscale(*work)

    def _have_room(self, borrower: str, lent: str) -> bool:
        taken = sum(map(self._size_of, {*self._in_use, lent}))
        return borrower not in self._crowded and taken <= self._budget

    def _size_of(self, pipeline: str) -> int:
        """Return the bytes that a pipeline takes; of its files, as long as nobody has seen it."""
        if pipeline in self._loaded:
            return self._loaded[pipeline].size_bytes
        weights = self._stock.weights(pipeline)
        return weights.size_bytes if weights else 0

    def _set_aside(self, pipeline: str) -> None:
        """Free the room that a pipeline takes, if it can wait on the host or nobody uses it."""
        if self._can_wait(pipeline):
            self._waiting.add(pipeline)  # first: what a move that fails leaves is brought back
            self._move(pipeline, "cpu")
        elif pipeline not in self._in_use:
            self._drop(pipeline)
        empty_cache()

    def _can_wait(self, pipeline: str) -> bool:
        is_elsewhere = self._device.id != "cpu"
        return is_elsewhere and isinstance(self._loaded[pipeline].upscaler, Movable)

    def _move(self, pipeline: str, device: str) -> None:
        cast("Movable", self._loaded[pipeline].upscaler).move(device)
        log.info("pipeline.moved", pipeline=pipeline, device=device)

    def enlarge(self, pipeline: str, work: Callable[[Upscaler, int], Made]) -> tuple[Made, int]:
        """Do a job's work on the device, and make room where it runs out of memory.

        The first time that fails, all other pipelines leave the device, and from then on what this
        one borrows is not beside it any more; then the tiles are halved, again and again, if the
        endpoint has any.

        Args:
            pipeline: What it needs.
            work: Called with the pipeline and the divisor of its tiles, 1 at first.

        Returns:
            What `work` returned, and the divisor that it took.

        Raises:
            OutOfDeviceMemory: Nothing helped.
        """
        for divisor in self._divisors(pipeline):
            try:
                with self.resident(pipeline) as upscaler:
                    return work(upscaler, divisor), divisor
            except (MemoryError, RuntimeError) as exc:
                if not is_out_of_memory(exc):
                    raise
                reason = str(exc)
            # Here, not in the handler: the exception held the frames, and they held the tensors.
            log.warning("device.full", pipeline=pipeline, divisor=divisor, reason=reason[:300])
            self._crowded.add(pipeline)
            self.evict(keep=pipeline)
        message = (
            f"{self._device.id} ({self._device.name}) has no room for this picture, even with "
            "nothing else on it; make it smaller, or use a device with more memory"
        )
        raise OutOfDeviceMemory(message)

    def _divisors(self, pipeline: str) -> list[int]:
        """Return the divisors to try: once more as it is, then halved and halved."""
        halved = [2**power for power in range(1, MOST_DIVISOR.bit_length())]
        tiled = self._stock.endpoint(catalog.part(pipeline)[0]).tiled
        return [1, 1, *halved] if tiled else [1, 1]

    @contextmanager
    def _naming(self, pipeline: str) -> Iterator[None]:
        """Say which pipeline is too large by itself: then nothing else helps."""
        try:
            yield
        except (MemoryError, RuntimeError) as exc:
            if self._taken() or not is_out_of_memory(exc):
                raise
            message = (
                f"{self._device.id} ({self._device.name}) has no room for {pipeline} itself, with "
                "nothing else on it; see what ENLARGER_OPTIONS offers for small devices, choose a "
                "smaller variant, or use a device with more memory"
            )
            raise OutOfDeviceMemory(message) from exc

    def evict(self, *, keep: str) -> None:
        """Take everything off the device but one pipeline and what it uses."""
        for name in [name for name in self._loaded if name not in {keep, *self._in_use}]:
            self._drop(name)
        empty_cache()

    def _get(self, pipeline: str) -> Upscaler:
        """Return a pipeline that is in use, once it is on the device."""
        if pipeline in self._waiting:
            self._make_room(self._size_of(pipeline))
            self._move(pipeline, self._device.id)
            self._waiting.remove(pipeline)
        elif pipeline not in self._loaded:
            self._loaded[pipeline] = self._load(pipeline)
        self._loaded.move_to_end(pipeline)
        return self._loaded[pipeline].upscaler

    def _load(self, pipeline: str) -> Resident:
        endpoint = self._stock.endpoint(catalog.part(pipeline)[0])
        weights = self._stock.weights(pipeline)
        expected = self._size_of(pipeline)
        self._make_room(expected)
        before, began = allocated_bytes(self._device), time.monotonic()
        upscaler_class: type[Upscaler] = catalog.load(endpoint.pipeline)
        with self._naming(pipeline):
            upscaler = upscaler_class.load(
                weights,
                options=self._stock.options(endpoint),
                device=self._device.id,
                dtype=self._device.dtype,
            )
        taken = max(allocated_bytes(self._device) - before, 0) or expected
        seconds = round(time.monotonic() - began, 3)
        log.info("pipeline.loaded", pipeline=pipeline, size_bytes=taken, seconds=seconds)
        return Resident(upscaler=upscaler, size_bytes=taken)

    def _make_room(self, size_bytes: int) -> None:
        """Evict the least recently used until so many bytes fit, or nothing is left to evict."""
        for name in [name for name in self._loaded if name not in self._in_use]:
            if self._taken() + size_bytes <= self._budget:
                return
            self._drop(name)
            empty_cache()

    def _taken(self) -> int:
        return sum(size for name, size in self.sizes().items() if name not in self._waiting)

    def _drop(self, name: str) -> None:
        del self._loaded[name]
        self._waiting.discard(name)
        log.info("pipeline.evicted", pipeline=name)


def is_out_of_memory(exc: BaseException) -> bool:
    """Tell whether an error is a lack of memory; torch is not imported for it."""
    if isinstance(exc, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(exc, torch.OutOfMemoryError):
        return True
    text = str(exc)  # torch's CPU and MPS allocators raise bare RuntimeErrors
    return "out of memory" in text or "DefaultCPUAllocator: can't allocate" in text


def empty_cache() -> None:
    """Give what torch keeps for later back to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def allocated_bytes(device: Device) -> int:
    """Return what torch holds on a CUDA device; 0 elsewhere, where nobody counts."""
    torch = sys.modules.get("torch")
    if torch is None or not device.id.startswith("cuda"):
        return 0
    return int(torch.cuda.memory_allocated(device.id))
