"""Where weights and pictures lie when a device has not room for all of them.

A network's blocks may live in the host's memory and visit the device one after another, each while
the one before it computes; or a whole network visits it. Weights never change, so nothing is copied
back then. What lives on the device may wait on the host while something else has its room.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

ALIGNMENT = 256
"""Bytes; every tensor in a buffer begins at a multiple, as CUDA's own allocations do."""

WORKING_SHARE = 0.75
"""Of the free memory of a device, what pictures at rest may take; the rest is for tiles at work."""


def free_bytes(device: torch.device) -> int:
    """Return what could still be allocated on a CUDA device, torch's own cache included."""
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + cached


def resting_place(size_bytes: int, device: torch.device) -> torch.device:
    """Return where a picture of so many bytes can wait: on the device, or else on the host.

    The choice never changes a result: the same kernels see the same tiles.
    """
    if device.type != "cuda" or size_bytes <= WORKING_SHARE * free_bytes(device):
        return device
    return torch.device("cpu")


class Lane(Protocol):
    """The way from the host to the device. A mark is a point in the order of the device's work."""

    def mark(self) -> Any:  # noqa: ANN401 - only the lane that made a mark reads it
        """Return a mark that is passed when all computation asked for so far is done."""
        ...

    def send(self, source: Tensor, target: Tensor, *, after: Any) -> Any:  # noqa: ANN401
        """Begin to copy once `after` is passed, if it isn't None; return the copy's own mark."""
        ...

    def wait(self, mark: Any) -> None:  # noqa: ANN401
        """Let computation that is asked for from now on begin when a mark is passed."""
        ...


class StraightLane:
    """Copies at once: for devices whose work is done in the order in which it is asked for."""

    def mark(self) -> None:
        """Everything asked for is done."""

    def send(self, source: Tensor, target: Tensor, *, after: None) -> None:
        """Copy, and return when it is done."""
        target.copy_(source)

    def wait(self, mark: None) -> None:
        """Nothing is ever under way."""


class CudaLane:
    """Copies on a stream of its own, beside the computation; the sources must be pinned."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def mark(self) -> torch.cuda.Event:
        """Record an event on the current stream."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def send(
        self, source: Tensor, target: Tensor, *, after: torch.cuda.Event | None
    ) -> torch.cuda.Event:
        """Copy on the side stream, and record an event there."""
        done = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            if after is not None:
                self._stream.wait_event(after)
            target.copy_(source, non_blocking=True)
            done.record(self._stream)
        return done

    def wait(self, mark: torch.cuda.Event) -> None:
        """Have the current stream wait for an event."""
        torch.cuda.current_stream(self._device).wait_event(mark)


def lane_to(device: torch.device) -> Lane:
    """Return the way to a device."""
    return CudaLane(device) if device.type == "cuda" else StraightLane()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where one tensor of a block lies in the block's buffer."""

    tensor: Tensor
    start: int
    stop: int

    def view(self, buffer: Tensor) -> Tensor:
        """Return the tensor's shape over its bytes in a buffer."""
        return buffer[self.start : self.stop].view(self.tensor.dtype).view(self.tensor.shape)


class _Packed:
    """A block whose tensors lie in one buffer on the host, so that one copy moves all of it."""

    def __init__(self, block: nn.Module, *, pinned: bool) -> None:
        self._places = list(_lay_out([*block.parameters(), *block.buffers()]))
        self.size_bytes = self._places[-1].stop if self._places else 0
        self.home = torch.empty(self.size_bytes, dtype=torch.uint8, pin_memory=pinned)
        for place in self._places:
            place.view(self.home).copy_(place.tensor)
        self.live_in(self.home)

    def live_in(self, buffer: Tensor) -> None:
        """Have the block's tensors be those in a buffer."""
        for place in self._places:
            place.tensor.data = place.view(buffer)


def _lay_out(tensors: Iterable[Tensor]) -> Iterable[_Place]:
    stop = 0
    for tensor in tensors:
        start = -(-stop // ALIGNMENT) * ALIGNMENT
        stop = start + tensor.nbytes
        yield _Place(tensor=tensor, start=start, stop=stop)


class _Slot:
    """Room on the device for any one block.

    Attributes:
        holds: The number of the block that is there, or on its way.
        arrived: Mark of its copy.
        left: Mark of the end of the last computation with what was there.
    """

    def __init__(self, size_bytes: int, device: torch.device) -> None:
        self.buffer = torch.empty(size_bytes, dtype=torch.uint8, device=device)
        self.holds: int | None = None
        self.arrived: Any = None
        self.left: Any = None


class BlockStream:
    """Lends the blocks of a network to a device; they are always called in the same order.

    Two blocks' worth of the device's memory is taken: one computes while the next one arrives.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device, lane: Lane) -> None:
        """Move the blocks' weights to the host, and have their calls bring them to the device."""
        pinned = device.type == "cuda"
        self._blocks = [_Packed(block, pinned=pinned) for block in blocks]
        largest = max(block.size_bytes for block in self._blocks)
        self._here, self._there = (_Slot(largest, device) for _ in range(2))
        self._lane = lane
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(lambda *_, number=number: self._arrive(number))
            block.register_forward_hook(
                lambda *_, number=number: self._leave(number), always_call=True
            )

    def _arrive(self, number: int) -> None:
        """Have a block on the device, and the next one on its way.

        One that is called for several inputs in turn stays for all of them.
        """
        if self._here.holds != number:
            self._send(number)
            self._here, self._there = self._there, self._here
            self._lane.wait(self._here.arrived)
        self._blocks[number].live_in(self._here.buffer)
        self._send((number + 1) % len(self._blocks))

    def _leave(self, number: int) -> None:
        """Give a block's room away, to be taken when its computation is done."""
        self._here.left = self._lane.mark()
        self._blocks[number].live_in(self._blocks[number].home)

    def _send(self, number: int) -> None:
        """Begin to copy a block to the room where none computes, unless it is there."""
        slot, packed = self._there, self._blocks[number]
        if slot.holds == number:
            return
        target = slot.buffer[: packed.size_bytes]
        slot.arrived = self._lane.send(packed.home, target, after=slot.left)
        slot.holds = number


def stream_blocks(network: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> None:
    """Place a network on a device, but for some blocks, which visit it when they are called.

    Args:
        network: On the host.
        blocks: Parts of it, in the order in which it calls them.
        device: Where it computes.
    """
    BlockStream(blocks, device, lane_to(device))
    visiting = {id(tensor) for block in blocks for tensor in _tensors(block)}
    for tensor in _tensors(network):
        if id(tensor) not in visiting:
            tensor.data = tensor.data.to(device)


def move(networks: Iterable[nn.Module], device: str) -> None:
    """Take networks to a device, tensor by tensor; what is there already stays."""
    with torch.inference_mode(mode=False):  # or else LoRAs could not be merged into them any more
        for network in networks:
            network.to(device)


class Visitor:
    """A whole network that lies on the host, and comes to a device for as long as it is needed."""

    def __init__(self, network: nn.Module, bring: Callable[[Tensor], Tensor]) -> None:
        """Take a network that is at home.

        Args:
            network: On the host.
            bring: Returns a tensor as the device has it.
        """
        self._homes = [(tensor, tensor.data) for tensor in _tensors(network)]
        self._bring = bring

    @contextmanager
    def here(self) -> Iterator[None]:
        """Have the network on the device for the length of a block."""
        try:
            for tensor, home in self._homes:
                tensor.data = self._bring(home)
            yield
        finally:
            for tensor, home in self._homes:
                tensor.data = home


def visitor_to(device: torch.device, network: nn.Module) -> Visitor:
    """Have a network visit a device; where that is the host itself, nothing moves."""
    if device.type == "cuda":  # which copies quickly from pinned memory only
        for tensor in _tensors(network):
            tensor.data = tensor.data.pin_memory()
    return Visitor(network, lambda home: home.to(device, non_blocking=True))


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
