"""A UNet and its ControlNet compiled by torch, for the shapes that most tiles have.

Compiled kernels round differently, and the same request must give the same bytes. So whether a call
is compiled is told by its own shape, never by what came before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import CompilerMissing

STEP = 32
"""Cells: sides of tiles that are compiled for, beside the full tile's. Most pictures have them, and
each further shape costs a compilation of a minute or more."""

TOKENS = 77
"""Of one chunk of a prompt; longer prompts are not compiled for."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The shapes of batches that are compiled for.

    Attributes:
        height: Of a full tile, in cells of the latent.
        width: Likewise.
        batch: The most tiles in a batch; those with and without a prompt are two.
    """

    height: int
    width: int
    batch: int

    def hold(self, latent: Tensor, prompt: Tensor) -> bool:
        """Tell whether a call is compiled.

        Args:
            latent: `(b, c, h, w)`.
            prompt: `(b, tokens, width)`.
        """
        batch, _, height, width = latent.shape
        return (
            batch <= self.batch
            and height in _sides(self.height)
            and width in _sides(self.width)
            and prompt.shape[1] == TOKENS
        )

    @property
    def count(self) -> int:
        """How many there are: a network is compiled at most twice as often, see `Choice`."""
        return len(_sides(self.height)) * len(_sides(self.width)) * self.batch


def _sides(most: int) -> set[int]:
    return {*range(STEP, most, STEP), most}


class Pair(NamedTuple):
    """What is called like a UNet, and what is called like its ControlNet."""

    unet: Callable[..., Any]
    controlnet: Callable[..., Any]


class Choice:
    """Two networks as they are or compiled, by the shape of each call.

    Compiled ones read the same weights, so that LoRAs come and go without a compilation. A UNet is
    compiled anew where no ControlNet adds to it.
    """

    def __init__(self, unet: nn.Module, controlnet: nn.Module, shapes: Shapes | None) -> None:
        """Compile nothing yet.

        Args:
            unet: The one network.
            controlnet: The other.
            shapes: That are compiled for, each when it comes first; None for none.

        Raises:
            CompilerMissing: There are such shapes, and torch can't compile here.
        """
        self._plain = Pair(unet, controlnet)
        self._shapes = shapes
        if shapes is not None:
            check_compiler(next(unet.parameters()).device)
            self._quick = Pair(_compiled(unet, shapes), _compiled(controlnet, shapes))

    def __call__(self, latent: Tensor, prompt: Tensor) -> Pair:
        """Return what to call for a latent and a prompt; see `Shapes.hold`."""
        is_compiled = self._shapes is not None and self._shapes.hold(latent, prompt)
        return self._quick if is_compiled else self._plain


def _compiled(network: nn.Module, shapes: Shapes) -> Callable[..., Any]:
    """Return a network's `forward`, compiled for each shape; one too many raises."""
    return torch.compile(  # type: ignore[call-overload] # its types lack the limit
        network.forward,
        fullgraph=True,
        dynamic=False,
        recompile_limit=2 * shapes.count,
        isolate_recompiles=True,
        # Kernels are not chosen by timing them, which would make two runs differ.
        options={"deterministic": True},
    )


def check_compiler(device: torch.device) -> None:
    """Compile next to nothing.

    Raises:
        CompilerMissing: torch can't.
    """
    try:
        torch.compile(torch.sin, fullgraph=True)(torch.ones(2, device=device))
    except Exception as exc:
        raise CompilerMissing(shorten(str(exc), 300)) from exc
