"""Jobs on their way into a picture: what the next step is made from, and what came of the last."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from models.chain_of_zoom.enhancer import Prompt
from models.chain_of_zoom.frames import enlarged, windows
from models.chain_of_zoom.schema import ChainOfZoomRequest
from models.chain_of_zoom.strip import side_by_side
from models.chain_of_zoom.text import tidied
from models.diffusion.noise import SeededNoise
from models.image import Pixels, on_white, to_8bit
from models.schema import Size
from models.upscaler import Result, Work

Words: TypeAlias = Callable[[Image.Image, Image.Image, Callable[[], None]], str]
"""Says what a frame shows, given the one before it; calls its last argument now and then."""


class Zoom:
    """One job, and what changes from step to step.

    Attributes:
        request: The job's own.
        context: Likewise.
        frame: Of the last step; before the first one the source.
        seen: What the next frame is made from, a part of the last one or of the source; RGB.
        wanted: The user's words.
        said: A language model's words about what was seen; empty where none is asked.
        prompt: Both, embedded.
        noise: Draws the job's own sequence.
        images: Made until now, in the source's size.
        raised: What ended it early.
    """

    def __init__(self, work: Work) -> None:
        """Begin with all of the source."""
        self.request: ChainOfZoomRequest = work.request
        self.context = work.context
        pixels = on_white(to_8bit(work.picture))
        self._source = Image.fromarray(pixels)
        self._size = Size(*self._source.size)
        self.frame = self._source.resize(
            self.request.frame_size(self._size), Image.Resampling.LANCZOS
        )
        self.wanted, self.said = tidied(self.request.user_prompt), ""
        self.prompt: Prompt | None = None
        asked = self.request.seed
        self._seed = derived_seed(pixels, self.request) if asked is None else asked
        self.noise = SeededNoise(torch.Generator().manual_seed(self._seed))
        centre = self.request.center_x, self.request.center_y
        self._windows = list(
            windows(self._size, Size(*self.frame.size), centre, self.request.steps)
        )
        self.images: list[Pixels] = []
        self.raised: Exception | None = None
        self.look()

    @property
    def has_ended(self) -> bool:
        """Whether there is no further step to take."""
        return self.raised is not None or len(self.images) == self.request.steps

    def look(self) -> None:
        """Enlarge what the next frame shows."""
        self.seen = enlarged(self._source, self.frame, self._windows[len(self.images)])

    def listen(self, describe: Words) -> None:
        """Have a language model say what is seen."""
        self.said = describe(self.frame, self.seen, self.context.check_cancelled)

    def take(self, made: Pixels) -> None:
        """Go on with the frame that was made from what was seen."""
        self.frame = Image.fromarray(made)
        self.images.append(np.array(self.frame.resize(self._size, Image.Resampling.LANCZOS)))
        self.tell("zooming")
        if not self.has_ended:
            self.look()

    def tell(self, stage: str) -> None:
        """Say how far it has come.

        Raises:
            Cancelled: Nobody wants it any more.
        """
        self.context.check_cancelled()
        self.context.progress(len(self.images) / self.request.steps, stage)

    def result(self) -> Result:
        """Return what the job produced."""
        centre = [self.request.center_x, self.request.center_y]
        return Result(
            images=tuple(self.images),
            seed=self._seed,
            body={"scale": self.request.zoom, "zoom_center": centre},
            opaque=True,
            further={"strip": self._strip()} if self.request.strip else {},
        )

    def _strip(self) -> Pixels:
        return side_by_side([self._source, *map(Image.fromarray, self.images)])


Each: TypeAlias = Callable[[Iterable[Zoom], Callable[[Zoom], None]], None]
"""Does something for each job that has not ended: `in_turn`, or `apart`."""


def in_turn(zooms: Iterable[Zoom], do: Callable[[Zoom], None]) -> None:
    """Do something for each job; what it raises ends all."""
    for zoom in zooms:
        if not zoom.has_ended:
            do(zoom)


def apart(zooms: Iterable[Zoom], do: Callable[[Zoom], None]) -> None:
    """Do something for each job; whatever it raises ends this one, and none of the others."""
    for zoom in zooms:
        try:
            in_turn([zoom], do)
        except Exception as exc:  # noqa: BLE001 - the job's own outcome, which the engine is told
            # Its frames would keep their tensors on the device while the others go on.
            zoom.raised = exc.with_traceback(None)


def derived_seed(pixels: Pixels, request: ChainOfZoomRequest) -> int:
    """Make a seed of a picture and the arguments that its frames depend on."""
    arguments = request.model_dump_json(exclude={"image_url", "seed", "strip", "sync_mode"})
    digest = hashlib.sha256(arguments.encode())
    digest.update(repr(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return int.from_bytes(digest.digest()[:8]) >> 1
