"""``enlarger/esrgan``: tiles of the picture through the network, laid over each other's borders.

The network sees hundreds of pixels far, so that tiles can't equal the whole; where two meet, one
fades into the other. Pictures of 16 bits are worked on in 8, which is what such networks learnt.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import torch
from PIL import Image

from models.checkpoint.manifest import LocalWeights
from models.errors import NotFinite
from models.esrgan.loading import load_network
from models.esrgan.network import RrdbNet
from models.esrgan.schema import EsrganRequest
from models.esrgan.weights import NETWORK
from models.image import Picture, Pixels, to_8bit
from models.options import NoOptions
from models.schema import Size
from models.upscaler import Context, Result

TILE = 192
"""Side of a tile, in pixels of the input."""
LEAST_TILE = 32
OVERLAP = 8
"""Pixels of the input over which a tile fades into the next."""
MOST_TIMES = 3
"""That the network is applied, where once does not reach the size."""
STAGE = "enlarging"


@dataclass(frozen=True)
class EsrganUpscaler:
    """One network; unchanged by any job."""

    network: RrdbNet
    device: str
    dtype: torch.dtype

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        """Load a checkpoint of any RRDBNet.

        Raises:
            WeightsError: It is missing, damaged, or of another architecture.
        """
        assert weights is not None, "the catalogue names a manifest"
        kind: torch.dtype = getattr(torch, dtype)
        network = load_network(weights.files[NETWORK], device=device, dtype=kind)
        return cls(network=network, device=device, dtype=kind)

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: EsrganRequest, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`."""
        size = request.output_size(Size(picture.width, picture.height))
        made = to_8bit(picture).pixels
        tile = context.divided(TILE, least=LEAST_TILE)
        for time in range(MOST_TIMES):
            made = self.enlarge(made, tile=tile, before_tile=_reporter(context, time))
            if made.shape[0] >= size.height and made.shape[1] >= size.width:
                break
        context.progress(1.0, STAGE)
        resized = Image.fromarray(made).resize(size, Image.Resampling.LANCZOS)
        return Result(images=(np.asarray(resized),), seed=context.seed)

    def enlarge(
        self,
        pixels: Pixels,
        *,
        tile: int = TILE,
        overlap: int = OVERLAP,
        before_tile: Callable[[float], None] = lambda _: None,
    ) -> Pixels:
        """Apply the network once.

        Args:
            pixels: `(h, w, 3)` RGB, uint8.
            tile: Side of a tile, in pixels of the input; 0 for the whole at once.
            overlap: How far tiles overlap at least.
            before_tile: Told what share of the tiles is done; may raise to stop.

        Returns:
            `(h * scale, w * scale, 3)`, uint8.
        """
        height, width = pixels.shape[:2]
        rows = starts(height, tile or height, overlap)
        columns = starts(width, tile or width, overlap)
        scale, total = self.network.scale, len(rows) * len(columns)
        down, across = min(tile or height, height), min(tile or width, width)
        canvas = Image.new("RGB", (width * scale, height * scale))
        row = Image.new("RGB", (width * scale, down * scale))
        for done, (top, left) in enumerate(product(rows, columns)):
            before_tile(done / total)
            made = self._tile(pixels[top : top + down, left : left + across])
            fade = overlap * scale if left else 0
            _lay(row, made, (left * scale, 0), fade, vertical=False)
            if left == columns[-1]:
                _lay(canvas, row, (0, top * scale), overlap * scale if top else 0, vertical=True)
        return np.asarray(canvas)

    def _tile(self, pixels: Pixels) -> Image.Image:
        """Apply the network to one tile, filled up to what it folds and cut back."""
        height, width = pixels.shape[:2]
        shrink, scale = self.network.shrink, self.network.scale
        filled = np.pad(pixels, ((0, -height % shrink), (0, -width % shrink), (0, 0)), mode="edge")
        seen = torch.from_numpy(filled).permute(2, 0, 1)[None].to(self.device, self.dtype) / 255
        made = self.network(seen)[0].float().permute(1, 2, 0)[: height * scale, : width * scale]
        if not made.isfinite().all():
            message = f"the network made NaN or infinity in {self.dtype}; try another dtype"
            raise NotFinite(message)
        # Cut off, not rounded, as the pictures in circulation were made.
        return Image.fromarray((made.clamp(0, 1) * 255).byte().cpu().numpy())


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along an axis: evenly spread, all of one length.

    Args:
        length: Of the axis.
        tile: Of a tile; the axis itself where that is shorter.
        overlap: At least so many pixels belong to both of two neighbours.
    """
    tile = min(tile, length)
    overlap = min(overlap, tile - 1)
    count = max(1, -(-(length - overlap) // (tile - overlap)))
    return [number * (length - tile) // max(1, count - 1) for number in range(count)]


def _lay(
    canvas: Image.Image, tile: Image.Image, at: tuple[int, int], fade: int, *, vertical: bool
) -> None:
    """Paste a tile whose first `fade` pixels rise from what is there to its own."""
    canvas_at = (at[0], at[1] + fade) if vertical else (at[0] + fade, at[1])
    left, top = (0, fade) if vertical else (fade, 0)
    if fade:
        ramp = (np.arange(fade) * 255 / fade).astype(np.uint8)
        width, height = (tile.width, fade) if vertical else (fade, tile.height)
        mask = np.broadcast_to(ramp[:, None] if vertical else ramp[None], (height, width))
        rising = Image.fromarray(np.ascontiguousarray(mask))
        canvas.paste(tile.crop((0, 0, width, height)), at, rising)
    canvas.paste(tile.crop((left, top, tile.width, tile.height)), canvas_at)


def _reporter(context: Context, time: int) -> Callable[[float], None]:
    """Return what tells of progress and stops a cancelled job, in each of several rounds."""

    def report(share: float) -> None:
        context.check_cancelled()
        context.progress(1 - 0.5**time * (1 - share / 2), STAGE)

    return report
