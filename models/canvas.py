"""How large a picture may be, checked before any pixel is computed; and how it is padded to fit."""

from typing import TYPE_CHECKING

from models.errors import ImageTooLarge
from models.schema import OutputFormat, Size

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_SIDE = {
    OutputFormat.PNG: 2**31 - 1,  # PNG specification, section 11.2.1
    OutputFormat.JPG: 65_500,  # libjpeg's JPEG_MAX_DIMENSION
    OutputFormat.WEBP: 16_383,  # 14 bits in the VP8 frame header
}
"""The longest side, in pixels, that each output format can hold."""


def check_input(size: Size, *, max_pixels: int) -> None:
    """Refuse an input picture of more than `max_pixels`.

    Raises:
        ImageTooLarge: It is over the limit; the message has both numbers.
    """
    pixels = size.width * size.height
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"the picture of {size.width}x{size.height} has {pixels:,} pixels, the limit is "
            f"{max_pixels:,}; make it smaller, or have the operator raise ENLARGER_MAX_INPUT_PIXELS"
        )


def check_output(size: Size, output_size: Size, *, max_pixels: int) -> None:
    """Refuse a result of more than `max_pixels`.

    Raises:
        ImageTooLarge: It would be over the limit; the message has both sizes and numbers.
    """
    pixels = output_size.width * output_size.height
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"{size.width}x{size.height} would become {output_size.width}x{output_size.height}, "
            f"{pixels:,} pixels, the limit is {max_pixels:,}; choose a smaller factor, "
            "or have the operator raise ENLARGER_MAX_OUTPUT_PIXELS"
        )


def check_working(size: Size, working_size: Size, *, max_pixels: int) -> None:
    """Refuse a picture that would be worked on at more than `max_pixels`.

    Raises:
        ImageTooLarge: It would; the message has both sizes and numbers.
    """
    pixels = working_size.width * working_size.height
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"{size.width}x{size.height} would be worked on at {working_size.width}x"
            f"{working_size.height}, {pixels:,} pixels, the limit is {max_pixels:,}; choose a "
            "smaller factor or a less narrow picture, or have the operator raise "
            "ENLARGER_MAX_OUTPUT_PIXELS"
        )


def check_limits(
    size: Size,
    output_size: Size,
    working_size: Size,
    *,
    max_input_pixels: int,
    max_output_pixels: int,
) -> None:
    """Refuse a job of which the input, the result, or what lies between has too many pixels.

    Raises:
        ImageTooLarge: One of them is over its limit.
    """
    check_input(size, max_pixels=max_input_pixels)
    check_output(size, output_size, max_pixels=max_output_pixels)
    check_working(size, working_size, max_pixels=max_output_pixels)


def check_encodable(size: Size, output_format: OutputFormat) -> None:
    """Refuse a result with a side that its format cannot hold.

    Raises:
        ImageTooLarge: A side is too long; the message names the format that has room.
    """
    longest = LONGEST_SIDE[output_format]
    if max(size) > longest:
        raise ImageTooLarge(
            f"the result of {size.width}x{size.height} does not fit into {output_format.value}, "
            f"whose sides have at most {longest:,} pixels; set output_format to png"
        )


def pad_to_multiple(picture: "Tensor", multiple: int) -> "Tensor":
    """Let the right and the bottom border go on until both sides are multiples.

    Repeated, not black and not mirrored: networks draw a frame around black, and a mirror needs
    more pixels than a small picture has.

    Args:
        picture: `(b, c, h, w)`; `[..., :h, :w]` of the result is as it came.
        multiple: Of pixels, along both sides.
    """
    from torch.nn.functional import pad

    height, width = picture.shape[2:]
    return pad(picture, (0, -width % multiple, 0, -height % multiple), mode="replicate")
