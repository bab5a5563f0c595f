"""The contract between the engine and a model: ``load`` once, ``upscale`` many times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

from models.checkpoint.manifest import LocalWeights
from models.image import Picture, Pixels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one request produced.

    Attributes:
        images: One or several `(H, W, 3)` RGB arrays, uint8 or uint16.
        seed: The seed that every random draw came from.
        body: Further fields of the endpoint's published result, ready for JSON.
        opaque: The picture's alpha is in the images already, which show it on white.
        flagged: The safety checker blackened the image, so a constant picture is no fault.
        notes: What the job's record says beside its result, ready for JSON.
        further: Pictures of other sizes that were asked for beside them, by their fields in the
            published result; stored with the images.
    """

    images: tuple[Pixels, ...]
    seed: int
    body: Mapping[str, Any] = field(default_factory=dict)
    opaque: bool = False
    flagged: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Pixels] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a model may ask of the engine while it works on one job.

    Attributes:
        seed: Seeds every random draw; see `generator`.
        progress: Called with (fraction done in [0, 1], stage name), as often as the model likes.
        check_cancelled: Raises `Cancelled` once nobody wants the job; for between steps and tiles.
        files: Local paths of the request's fetched files, by field name, without `image_url`.
        tile_divisor: 1, 2, 4...: how often the engine halved the tiles after an out-of-memory.
        borrow: Has another endpoint's upscaler, by its id, do a piece of the work. Where a device
            has no room for both, the one that does nothing leaves it meanwhile (see `Movable`).
    """

    seed: int
    progress: Callable[[float, str], None]
    check_cancelled: Callable[[], None]
    borrow: Callable[[str, "Work"], Result]
    files: Mapping[str, Path] = field(default_factory=dict)
    tile_divisor: int = 1

    def divided(self, side: int, *, least: int) -> int:
        """Return a tile's side, halved as often as tiles were, but not below `least`."""
        return max(least, side // self.tile_divisor)

    def generator(self) -> "torch.Generator":
        """Return a CPU generator at the start of the job's own random sequence."""
        import torch

        return torch.Generator().manual_seed(self.seed)


class Upscaler(Protocol):
    """A loaded model; unchanged by any job, owns no thread and no network."""

    @classmethod
    def load(
        cls,
        weights: LocalWeights | None,
        *,
        options: Any,  # noqa: ANN401 - each model has its own options class
        device: str,
        dtype: str,
    ) -> Self:
        """Read the weights strictly and move them to the device.

        Args:
            weights: The files of one variant; None where the endpoint needs none.
            options: What the operator chose, in the endpoint's own class.
            device: A torch device name, such as "cpu" or "cuda:0".
            dtype: A torch dtype name, such as "float32" or "bfloat16".

        Raises:
            WeightsError: A tensor is missing, unknown or of the wrong shape.
        """
        ...

    def upscale(self, picture: Picture, request: Any, context: Context) -> Result:  # noqa: ANN401 - each model has its own request class
        """Enlarge one picture; the alpha channel is the engine's business, not the model's."""
        ...


class Work(NamedTuple):
    """What `upscale` is given for one job.

    Attributes:
        picture: The decoded input.
        request: The model's own request class.
        context: The job's own.
    """

    picture: Picture
    request: Any
    context: Context


@runtime_checkable
class Movable(Upscaler, Protocol):
    """A model that can wait on the host while another one needs its room on the device."""

    def move(self, device: str) -> None:
        """Take all weights to a device; never called while it works.

        What is there already stays, so that a move that was interrupted can be asked for again.

        Args:
            device: "cpu", or the one that it was loaded to.
        """
        ...


class BatchUpscaler(Upscaler, Protocol):
    """A model with a batch form; the catalogue says which have one (`Endpoint.batch_pixels`)."""

    def upscale_together(self, work: Sequence[Work]) -> "Sequence[Result | Exception]":
        """Enlarge the pictures of several jobs in one call.

        A result may differ by 1/255 from what `upscale` makes of the same job. Where the call is
        short, progress and cancellation may be left out. What is raised says nothing about any one
        job: the engine then does them one by one.

        Returns:
            For each job, in order, its result, or what it raised in company: the engine then does
            this one alone, where that may end otherwise.
        """
        ...
