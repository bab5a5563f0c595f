"""Which pipelines are on the device: the least recently used leave when another needs the room.

Only the device thread comes here, so nothing is locked.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from models import catalog
from models.errors import OutOfDeviceMemory
from models.upscaler import Upscaler
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
        self._in_use: list[str] = []

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each resident pipeline takes; any thread may ask."""
        return {name: each.size_bytes for name, each in list(self._loaded.items())}

    @contextmanager
    def resident(self, pipeline: str) -> Iterator[Upscaler]:
        """Have a pipeline on the device for the length of a block.

        Raises:
            UnknownEndpoint: No such endpoint is served here.
            WeightsError: Its files are not here, or do not fit the network.
        """
        depth = len(self._in_use)
        try:
            yield self._use(pipeline)
        finally:
            del self._in_use[depth:]

    def borrow(self, endpoint: str) -> Upscaler:
        """Return an endpoint's pipeline that stays until the surrounding `resident` block ends.

        Where it has variants, the first one.
        """
        return self._use(self._stock.endpoint(endpoint).pipelines()[0])

    def _use(self, pipeline: str) -> Upscaler:
        self._in_use.append(pipeline)
        return self._get(pipeline)

    def enlarge(self, pipeline: str, work: Callable[[Upscaler, int], Made]) -> tuple[Made, int]:
        """Do a job's work on the device, and make room where it runs out of memory.

        The first time that fails, all other pipelines leave the device; then the tiles are halved,
        again and again, if the endpoint has any.

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
                is_loaded = pipeline in self._loaded
            # Here, not in the handler: the exception held the frames, and they held the tensors.
            log.warning("device.full", pipeline=pipeline, divisor=divisor, reason=reason[:300])
            alone = not self.evict(keep=pipeline)
            if alone and not is_loaded:
                raise OutOfDeviceMemory(self._no_room_to_load(pipeline))
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

    def _no_room_to_load(self, pipeline: str) -> str:
        return (
            f"{self._device.id} ({self._device.name}) has no room for {pipeline} itself, with "
            "nothing else on it; see what ENLARGER_OPTIONS offers for small devices, choose a "
            "smaller variant, or use a device with more memory"
        )

    def evict(self, *, keep: str) -> bool:
        """Take everything off the device but one pipeline and what it uses; tell if any was."""
        leaving = [name for name in self._loaded if name not in {keep, *self._in_use}]
        for name in leaving:
            self._drop(name)
        empty_cache()
        return bool(leaving)

    def _get(self, pipeline: str) -> Upscaler:
        if pipeline not in self._loaded:
            self._loaded[pipeline] = self._load(pipeline)
        self._loaded.move_to_end(pipeline)
        return self._loaded[pipeline].upscaler

    def _load(self, pipeline: str) -> Resident:
        endpoint = self._stock.endpoint(catalog.part(pipeline)[0])
        weights = self._stock.weights(pipeline)
        expected = weights.size_bytes if weights else 0
        self._make_room(expected)
        before, began = allocated_bytes(self._device), time.monotonic()
        upscaler_class: type[Upscaler] = catalog.load(endpoint.pipeline)
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
            if sum(self.sizes().values()) + size_bytes <= self._budget:
                return
            self._drop(name)
            empty_cache()

    def _drop(self, name: str) -> None:
        del self._loaded[name]
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
