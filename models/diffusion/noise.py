"""Where random numbers come from: a job's seed, or a recording."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """A sequence of draws; a model asks in the same order and for the same shapes every time."""

    def draw(self, *shape: int) -> Tensor:
        """Return the next standard normal numbers, float32 on the CPU."""
        ...


class SeededNoise:
    """Drawn on the CPU in float32, so that a seed means the same on every device."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def draw(self, *shape: int) -> Tensor:
        """Return the next numbers of the generator."""
        return torch.randn(shape, generator=self._generator)


class RecordedNoise:
    """Hands out given tensors, one for each draw."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors: Iterator[Tensor] = iter(tensors)

    def draw(self, *shape: int) -> Tensor:
        """Return the next tensor.

        Raises:
            ValueError: It has another shape.
        """
        tensor = next(self._tensors)
        if tensor.shape != shape:
            message = f"{tuple(tensor.shape)} was recorded where {shape} is asked for"
            raise ValueError(message)
        return tensor
