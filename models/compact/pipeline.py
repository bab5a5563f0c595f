"""``enlarger/compact``: any factor from 1 to 8, tile by tile, in bounded memory.

Every tile of the result is computed on its own from exactly the part of the input that it depends
on: through one network or two and then, where the factor is none of theirs, by Lanczos resampling
down. Nothing is rounded in between, and nothing larger than a tile is held but the input and the
result. Always in float32: rounded to bfloat16, results were off by more than one of 255 levels.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models.checkpoint.manifest import LocalWeights
from models.compact.axis import Axis, resample
from models.compact.network import CompactNetwork, read
from models.compact.schema import CompactRequest, Variant
from models.image import Picture, Pixels, from_tensor
from models.options import NoOptions
from models.schema import Size
from models.tiling import boxes
from models.tiling.boxes import Reach, Span
from models.upscaler import Context, Result, Work

CHAINS = {2: (2,), 4: (4,), 8: (2, 4)}
"""The networks' scales for each factor that they reach, the smallest first. For 8, beginning with 4
took twice as long and gave 0.26 dB less on the held-out photographs."""
SIDE = 256
"""Of a tile as the last network sees it, context included, in pixels. Smaller ones spend more on
context; with larger ones the features no longer fit into the caches."""
LEAST_CORE = 16
"""What is left of a tile's side without context, however often tiles are halved."""
CELL = 16
"""Pictures share a batch if their sides fill as many cells of so many pixels: more of them do than
if the sides had to be equal, and little is computed for the filling."""
TOGETHER = 8192
"""Most pixels in a batch. With more of them the features leave the second cache, and the pictures
are enlarged more slowly than one by one."""
STAGE = "enlarging"

Kind = tuple[Variant, int]
"""A variant and a scale: what a network was trained for."""


@dataclass(frozen=True)
class CompactUpscaler:
    """The networks of all variants and scales; unchanged by any job."""

    networks: Mapping[Kind, CompactNetwork]
    device: str

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        """Read the package's own weights; `dtype` is not followed, see above."""
        return cls.of({kind: read(*kind) for kind in product(Variant, (2, 4))}, device=device)

    @classmethod
    def of(cls, networks: Mapping[Kind, CompactNetwork], *, device: str) -> Self:
        """Place networks on a device, in the layout of memory that convolutions are quick in."""
        for network in networks.values():
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(networks=networks, device=device)

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: CompactRequest, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`, in the depth that it came with."""
        chain = self._chain(request)
        down, across = _axes(picture, request, chain)
        enlarged = np.empty((down.result, across.result, 3), picture.pixels.dtype)
        tiles = _tiles(down, across, chain, context.tile_divisor)
        for done, (rows, columns) in enumerate(tiles):
            context.check_cancelled()
            context.progress(done / len(tiles), STAGE)
            made = self._enlarge(
                [picture.pixels], chain, down.sampled(rows), across.sampled(columns)
            )
            tile = resample(made[0], down, across, rows, columns)
            enlarged[slice(*rows), slice(*columns)] = _rounded(tile, picture)
        context.progress(1.0, STAGE)
        return Result(images=(enlarged,), seed=context.seed)

    @torch.inference_mode()
    def upscale_together(self, work: Sequence[Work]) -> list[Result]:
        """Enlarge small pictures of several jobs; those of about one size go through as one batch.

        What a pixel becomes depends on its surroundings alone, so neither company nor the filling
        up to a common size changes a result by more than float32's rounding.
        """
        made = dict[int, Pixels]()
        for company in _companies(work):
            if len(company) == 1:  # as tiles, in bounded memory: it may be long and thin
                made[company[0]] = self.upscale(*work[company[0]]).images[0]
                continue
            pixels = self._together([work[index] for index in company])
            made.update(zip(company, pixels, strict=True))
        return [
            Result(images=(made[index],), seed=each.context.seed) for index, each in enumerate(work)
        ]

    def _together(self, work: Sequence[Work]) -> list[Pixels]:
        """Enlarge whole pictures by the same chain, filled up to the longest sides among them."""
        chain = self._chain(work[0].request)
        axes = [_axes(each.picture, each.request, chain) for each in work]
        down, across = zip(*axes, strict=True)
        rows, columns = Span(0, max(down).chained), Span(0, max(across).chained)
        made = self._enlarge([each.picture.pixels for each in work], chain, rows, columns)
        return [
            _rounded(_whole(one, *both), each.picture)
            for each, one, both in zip(work, made, axes, strict=True)
        ]

    def _chain(self, request: CompactRequest) -> list[CompactNetwork]:
        """Return the networks of the shortest chain that reaches the factor, in order."""
        return [self.networks[request.variant, scale] for scale in _scales(request)]

    def _enlarge(
        self,
        pictures: Iterable[Pixels],
        chain: Sequence[CompactNetwork],
        rows: Span,
        columns: Span,
    ) -> Tensor:
        """Compute the same part of what a chain makes of some pictures.

        Args:
            pictures: `(H, W, 3)` each, uint8 or uint16.
            chain: The networks in order.
            rows: Of the last network's output.
            columns: Likewise.

        Returns:
            `(b, 3, rows.length, columns.length)` on the device, in [0, 1] but not clipped.
        """
        reaches = [Reach(network.scale, network.radius) for network in chain]
        down, across = boxes.needed(rows, reaches), boxes.needed(columns, reaches)
        seen = np.stack([boxes.read(pixels, down[0], across[0]) for pixels in pictures])
        made = torch.from_numpy(seen).to(self.device).permute(0, 3, 1, 2)  # (b, 3, h, w)
        for network, vertical, horizontal in zip(
            chain, pairwise(down), pairwise(across), strict=True
        ):
            # TensorFloat-32, which convolutions use on CUDA unasked, would show tiles and company.
            with torch.backends.cudnn.flags(allow_tf32=False):
                made = network(made)
            made = made[..., _kept(*vertical, network.scale), _kept(*horizontal, network.scale)]
        return made


def _scales(request: CompactRequest) -> tuple[int, ...]:
    """Return the scales of the shortest chain that reaches the factor."""
    return next(chain for reached, chain in CHAINS.items() if reached >= request.scale)


def _companies(work: Sequence[Work]) -> Iterator[list[int]]:
    """Yield the indices of jobs that go through the networks as one batch."""
    alike = defaultdict[tuple[Variant, tuple[int, ...], int, int], list[int]](list)
    for index, (picture, request, _) in enumerate(work):
        height, width = (-(-side // CELL) * CELL for side in (picture.height, picture.width))
        alike[request.variant, _scales(request), height, width].append(index)
    for (_, _, height, width), group in alike.items():
        most = max(1, TOGETHER // (height * width))
        for first in range(0, len(group), most):
            yield group[first : first + most]


def _whole(made: Tensor, down: Axis, across: Axis) -> Tensor:
    """Resample one picture of a batch, without what it was filled up with."""
    own = made[:, : down.chained, : across.chained]
    return resample(own, down, across, Span(0, down.result), Span(0, across.result))


def _kept(read: Span, wanted: Span, scale: int) -> slice:
    """Return where `wanted` lies in what a network makes of the input span `read`."""
    return wanted.within(Span(read.start * scale, read.stop * scale))


def _axes(
    picture: Picture, request: CompactRequest, chain: Sequence[CompactNetwork]
) -> tuple[Axis, Axis]:
    """Return the vertical and the horizontal axis."""
    size = Size(picture.width, picture.height)
    reached = int(np.prod([network.scale for network in chain]))
    result = request.output_size(size)
    return (
        Axis(chained=size.height * reached, result=result.height),
        Axis(chained=size.width * reached, result=result.width),
    )


def _tiles(
    down: Axis, across: Axis, chain: Sequence[CompactNetwork], divisor: int
) -> list[tuple[Span, Span]]:
    """Return the rows and columns of every tile of the result."""
    last = chain[-1]
    core = max(LEAST_CORE, SIDE // divisor - 2 * last.radius) * last.scale
    rows, columns = (
        boxes.part(axis.result, most=int(core / axis.shrinking)) for axis in (down, across)
    )
    return list(product(rows, columns))


def _rounded(tile: Tensor, picture: Picture) -> Pixels:
    """Round `(3, h, w)` in [0, 1] to the depth of the picture."""
    return from_tensor(tile, bits=8 if picture.pixels.dtype == np.uint8 else 16)
