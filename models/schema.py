"""What the endpoints' request schemas share: file fields, output formats, the published image."""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field


class Size(NamedTuple):
    """A picture's size in pixels."""

    width: int
    height: int


class OutputFormat(StrEnum):
    """How a result is encoded; the value is also the object's suffix."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"

    @property
    def content_type(self) -> str:
        """The media type that the object is stored with."""
        return "image/jpeg" if self is OutputFormat.JPG else f"image/{self.value}"


class FileField:
    """Marks a field that names a file: the engine fetches it and the context has its path.

    Attributes:
        weights_bytes: The most that the file may have where it holds weights, which are looked at
            before a model reads them, and kept for other jobs; None where it holds none.
    """

    def __init__(self, *, weights_bytes: int | None = None) -> None:
        self.weights_bytes = weights_bytes


FileUrl = Annotated[str, FileField(), Field(min_length=1)]


class UpscaleRequest(BaseModel):
    """The base of every endpoint's request: frozen, and strict about names.

    A subclass adds the endpoint's published fields under their published names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    image_url: FileUrl = Field(
        description="The image to enlarge.", examples=["https://example.com/photo.jpg"]
    )

    def check_size(self, size: Size) -> None:
        """Refuse an input of a size that the endpoint itself does not take.

        Limits that operators set are not this one's business.

        Raises:
            RequestError: It names the field at fault.
        """

    def output_size(self, size: Size) -> Size:
        """Return the size in pixels that the result will have for an input of `size`."""
        raise NotImplementedError

    def working_size(self, size: Size) -> Size:
        """Return the size that an input of `size` is worked on at, which limits hold for too.

        A model that pads a result, or enlarges it further on the way, says so here.
        """
        return self.output_size(size)

    def image_count(self) -> int:
        """Return how many images of `output_size` the result has."""
        return 1

    def encoding(self) -> OutputFormat:
        """Return the format that the result is stored in."""
        raise NotImplementedError


class PublishedImage(BaseModel):
    """An image in a result body, as the published endpoints describe it."""

    url: str = Field(
        description="Where it can be read without a key, or the image itself as a data URI.",
        examples=["https://enlarger.example/cdn/results/…/photo.png"],
    )
    content_type: str = Field(description="Its media type.", examples=["image/png"])
    file_name: str = Field(description="What to save it as.", examples=["photo.png"])
    file_size: int = Field(ge=0, description="In bytes.", examples=[4404019])
    width: int = Field(ge=1, description="In pixels.", examples=[2048])
    height: int = Field(ge=1, description="In pixels.", examples=[1536])


class SingleResult(BaseModel):
    """The result body of an endpoint that makes one image of one."""

    image: PublishedImage = Field(description="The enlarged image.")
    seed: int = Field(description="What every random draw came from.", examples=[42])


def file_fields(schema: type[BaseModel]) -> list[str]:
    """Name the fields of `schema` that are files to be fetched, also those that may be left out."""
    return [
        name
        for name in schema.model_fields
        if any(isinstance(mark, FileField) for mark in _marks_of(schema, name))
    ]


def weights_fields(schema: type[BaseModel]) -> dict[str, int]:
    """Return the most bytes of each file field of `schema` that holds weights, by its name."""
    return {
        name: mark.weights_bytes
        for name in file_fields(schema)
        for mark in _marks_of(schema, name)
        if isinstance(mark, FileField) and mark.weights_bytes is not None
    }


def named_files(request: BaseModel) -> dict[str, str]:
    """Return what a request names as its files, by field; those left out are not there."""
    named = ((name, getattr(request, name)) for name in file_fields(type(request)))
    return {name: address for name, address in named if address}


def _marks_of(schema: type[BaseModel], name: str) -> list[Any]:
    field = schema.model_fields[name]
    return [*field.metadata, *_marks(field.annotation)]


def _marks(annotation: Any) -> list[Any]:  # noqa: ANN401 - a type, or part of one
    """Return what the alternatives of a type are marked with."""
    alternatives = get_args(annotation)
    return [mark for each in alternatives for mark in getattr(each, "__metadata__", ())]


Arguments = dict[str, Any]
"""An endpoint's arguments as JSON has them: every field of the request but the image itself."""
