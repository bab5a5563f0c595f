"""What is learnt from: photographs in the public domain, and pictures made by a program.

The made ones are dead leaves (Lee, Mumford and Huang 2001): opaque shapes of power-law sizes that
cover each other, which gives edges the statistics of photographs; the shapes carry textures,
gradients, lines and letters.
"""

from collections.abc import Iterator
from importlib import resources

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Rgb = npt.NDArray[np.uint8]

TRAINING = (
    "astronaut.png",
    "brick.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
)
"""scikit-image's photographs that anybody may use for anything, without those held out."""
HELD_OUT = ("camera.png", "chelsea.png", "rocket.jpg")
"""Never seen in training; what the model card's figures are of."""

SHRINKS = (1.0, 0.75, 0.55, 0.4)
"""Each photograph also teaches as a smaller and so a sharper one."""


def photograph(name: str) -> Rgb:
    """Return one of scikit-image's photographs, `(H, W, 3)`."""
    path = resources.files("skimage.data").joinpath(name)
    with path.open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def photographs() -> Iterator[Rgb]:
    """Yield the training photographs in several sizes."""
    for name in TRAINING:
        picture = Image.fromarray(photograph(name))
        for shrink in SHRINKS:
            size = (round(picture.width * shrink), round(picture.height * shrink))
            yield np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def made(random: np.random.Generator, side: int) -> Rgb:
    """Return a picture of dead leaves, `(side, side, 3)`, antialiased by drawing it threefold."""
    large = 3 * side
    canvas = Image.fromarray(_texture(random, large))
    smallest = float(random.choice([6, 12, 24]))
    for radius in _radii(
        random, count=int(random.integers(60, 500)), least=smallest, most=large / 3
    ):
        _drop_leaf(random, canvas, radius)
    for _ in range(int(random.integers(0, 8))):
        _write(random, canvas)
    for _ in range(int(random.integers(0, 30))):
        _draw_line(random, canvas)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX))


def _radii(
    random: np.random.Generator, *, count: int, least: float, most: float
) -> npt.NDArray[np.float64]:
    """Draw radii with density r**-3, largest first where it is a coin's decision."""
    uniform = random.random(count)
    radii = (least**-2 + uniform * (most**-2 - least**-2)) ** -0.5
    return np.sort(radii)[::-1] if random.random() < 0.5 else radii


def _drop_leaf(random: np.random.Generator, canvas: Image.Image, radius: float) -> None:
    size = max(2, int(2 * radius))
    leaf = Image.fromarray(_texture(random, size))
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    match int(random.integers(4)):
        case 0:
            draw.ellipse((0, 0, size - 1, size - 1), fill=255)
        case 1:
            inset = int(random.random() * size / 3)
            draw.rectangle((0, inset, size - 1, size - 1 - inset), fill=255)
        case 2:
            angles = np.sort(random.random(int(random.integers(3, 8)))) * 2 * np.pi
            reach = radius * (0.4 + 0.6 * random.random(len(angles)))
            points = np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] + radius
            draw.polygon([tuple(point) for point in points.tolist()], fill=255)
        case _:
            draw.ellipse((0, 0, size - 1, size - 1), outline=255, width=max(1, size // 10))
    turn = float(random.random() * 360)
    place = tuple((random.random(2) * (canvas.width + size) - size).astype(int).tolist())
    canvas.paste(leaf, place, mask.rotate(turn))


def _texture(random: np.random.Generator, side: int) -> Rgb:
    """Return a square of one colour, gradient, grating, checks or noise of a chosen spectrum."""
    colours = random.integers(0, 256, (2, 3)).astype(np.float32)
    if random.random() < 0.5:
        colours[1] = np.clip(colours[0] + random.normal(0, 30, 3), 0, 255)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    angle = random.random() * 2 * np.pi
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    period = float(random.uniform(7, 60))
    match int(random.integers(6)):
        case 0:
            mix = np.zeros_like(along)
        case 1:
            mix = (along - along.min()) / max(float(np.ptp(along)), 1)
        case 2:
            mix = 0.5 + 0.5 * np.sin(along * 2 * np.pi / period)
        case 3:
            mix = ((along // period + across // period) % 2).astype(np.float32)
        case 4:
            mix = ((along % period) < period * random.uniform(0.2, 0.8)).astype(np.float32)
        case _:
            mix = _noise(random, side)
    return np.clip(colours[0] + mix[..., None] * (colours[1] - colours[0]), 0, 255).astype(np.uint8)


def _noise(random: np.random.Generator, side: int) -> npt.NDArray[np.float32]:
    """Return noise whose amplitude falls with the frequency to a power of 0.5 to 2, in [0, 1]."""
    spectrum = np.fft.rfft2(random.normal(size=(side, side)))
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / side)
    noise = np.fft.irfft2(spectrum * frequency ** -random.uniform(0.5, 2), s=(side, side))
    return np.clip(0.5 + noise / (4 * noise.std() + 1e-9), 0, 1).astype(np.float32)


def _write(random: np.random.Generator, canvas: Image.Image) -> None:
    letters = "".join(chr(int(code)) for code in random.integers(33, 127, 12))
    font = ImageFont.load_default(size=float(random.integers(24, 120)))
    place = tuple((random.random(2) * canvas.width).tolist())
    ImageDraw.Draw(canvas).text(place, letters, fill=_colour(random), font=font)


def _draw_line(random: np.random.Generator, canvas: Image.Image) -> None:
    ends = (random.random(4) * canvas.width).tolist()
    width = int(random.integers(1, 10))
    ImageDraw.Draw(canvas).line(ends, fill=_colour(random), width=width)


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue
