"""Which pipelines are on the device: the least recently used leave when another needs the room.

Only the device thread comes here, so nothing is locked.
"""

import importlib.util
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from models.catalog import Endpoint, load
from models.errors import OutOfDeviceMemory, UnknownEndpoint
from models.upscaler import Upscaler
from workers.devices import Device

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
        endpoints: Mapping[str, Endpoint],
        device: Device,
        *,
        budget_bytes: int,
        weights_folder: Path | None,
    ) -> None:
        self._endpoints = endpoints
        self._device = device
        self._budget = budget_bytes
        self._weights = weights_folder
        self._loaded: OrderedDict[str, Resident] = OrderedDict()
        self._in_use: list[str] = []

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each resident pipeline takes; any thread may ask."""
        return {name: each.size_bytes for name, each in list(self._loaded.items())}

    @contextmanager
    def resident(self, endpoint: str) -> Iterator[Upscaler]:
        """Have an endpoint's pipeline on the device for the length of a block.

        Raises:
            UnknownEndpoint: No such endpoint is served here.
            WeightsError: Its files do not fit the network.
        """
        depth = len(self._in_use)
        try:
            yield self.borrow(endpoint)
        finally:
            del self._in_use[depth:]

    def borrow(self, endpoint: str) -> Upscaler:
        """Return a pipeline that stays until the surrounding `resident` block ends."""
        self._in_use.append(endpoint)
        return self._get(endpoint)

    def enlarge(self, endpoint: str, work: Callable[[Upscaler, int], Made]) -> tuple[Made, int]:
        """Do a job's work on the device, and make room where it runs out of memory.

        The first time that fails, all other pipelines leave the device; then the tiles are halved,
        again and again, if the endpoint has any.

        Args:
            endpoint: Whose pipeline it needs.
            work: Called with the pipeline and the divisor of its tiles, 1 at first.

        Returns:
            What `work` returned, and the divisor that it took.

        Raises:
            OutOfDeviceMemory: Nothing helped.
        """
        for divisor in self._divisors(endpoint):
            try:
                with self.resident(endpoint) as upscaler:
                    return work(upscaler, divisor), divisor
            except (MemoryError, RuntimeError) as exc:
                if not is_out_of_memory(exc):
                    raise
                reason = str(exc)
            # Here, not in the handler: the exception held the frames, and they held the tensors.
            log.warning("device.full", endpoint=endpoint, divisor=divisor, reason=reason[:300])
            self.evict(keep=endpoint)
        message = (
            f"{self._device.id} ({self._device.name}) has no room for this picture, even with "
            "nothing else on it; make it smaller, or use a device with more memory"
        )
        raise OutOfDeviceMemory(message)

    def _divisors(self, endpoint: str) -> list[int]:
        """Return the divisors to try: once more as it is, then halved and halved."""
        halved = [2**power for power in range(1, MOST_DIVISOR.bit_length())]
        return [1, 1, *halved] if self._find(endpoint).tiled else [1, 1]

    def evict(self, *, keep: str) -> None:
        """Take everything off the device but one pipeline and what it uses."""
        for name in [name for name in self._loaded if name not in {keep, *self._in_use}]:
            self._drop(name)
        empty_cache()

    def _find(self, endpoint: str) -> Endpoint:
        if endpoint not in self._endpoints:
            raise UnknownEndpoint(endpoint, known=list(self._endpoints))
        return self._endpoints[endpoint]

    def _get(self, endpoint: str) -> Upscaler:
        if endpoint not in self._loaded:
            self._loaded[endpoint] = self._load(self._find(endpoint))
        self._loaded.move_to_end(endpoint)
        return self._loaded[endpoint].upscaler

    def _load(self, endpoint: Endpoint) -> Resident:
        folder = weights_of(endpoint, self._weights)
        expected = folder_bytes(folder)
        self._make_room(expected)
        before, began = allocated_bytes(self._device), time.monotonic()
        pipeline: type[Upscaler] = load(endpoint.pipeline)
        upscaler = pipeline.load(folder, device=self._device.id, dtype=self._device.dtype)
        taken = max(allocated_bytes(self._device) - before, 0) or expected
        seconds = round(time.monotonic() - began, 3)
        log.info("pipeline.loaded", endpoint=endpoint.id, size_bytes=taken, seconds=seconds)
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
        log.info("pipeline.evicted", endpoint=name)


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


def weights_of(endpoint: Endpoint, folder: Path | None) -> Path | None:
    """Return the folder of an endpoint's files; None where it needs none."""
    return folder / endpoint.id if endpoint.weights and folder is not None else None


def folder_bytes(folder: Path | None) -> int:
    """Return the size of all files below a folder: what loading them will take, roughly."""
    if folder is None:
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Which endpoints a worker can serve, and why not the others."""

    ready: tuple[str, ...]
    not_ready: dict[str, str]


def readiness(
    wanted: Sequence[str], endpoints: Mapping[str, Endpoint], weights_folder: Path | None
) -> Readiness:
    """Look at what each wanted endpoint needs, without loading anything."""
    reasons = {name: _obstacle(name, endpoints, weights_folder) for name in wanted}
    return Readiness(
        ready=tuple(name for name, reason in reasons.items() if reason is None),
        not_ready={name: reason for name, reason in reasons.items() if reason is not None},
    )


def _importable(module: str) -> bool:
    """Tell whether a module is there, without importing it (only the packages around it)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _obstacle(
    name: str, endpoints: Mapping[str, Endpoint], weights_folder: Path | None
) -> str | None:
    if name not in endpoints:
        return f"the catalogue has no such endpoint; it has {', '.join(sorted(endpoints))}"
    endpoint = endpoints[name]
    module = endpoint.pipeline.partition(":")[0]
    if not _importable(module):
        return f"its pipeline {module} is not installed"
    if not endpoint.weights:
        return None
    if weights_folder is None:
        return "it needs weights, and ENLARGER_WEIGHTS_FOLDER is not set"
    folder = weights_folder / endpoint.id
    return None if folder.is_dir() else f"its weights are not in {folder}"
