"""The model card's figures, of any pictures: ``python -m models.compact.training.measure``."""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

from models.compact.network import CompactNetwork, read
from models.compact.training import fidelity, pictures
from models.compact.training.pictures import Rgb

JPEG_QUALITY = 75
"""Of the small pictures that "photo" is measured on."""


def gain(network: CompactNetwork, large: Rgb, *, jpeg_quality: int | None) -> tuple[float, float]:
    """Reduce a picture and enlarge it again; return the PSNR of Lanczos and the network's own."""
    scale = network.scale
    small, true = fidelity.reduced(large, scale, jpeg_quality=jpeg_quality)
    return (
        fidelity.psnr(fidelity.lanczos(small, scale), true, border=scale),
        fidelity.psnr(fidelity.enlarged(network, small), true, border=scale),
    )


def quality_for(variant: str) -> int | None:
    """Return the JPEG quality that a variant is measured behind; None for untouched pictures."""
    return JPEG_QUALITY if variant == "photo" else None


def _named(files: tuple[Path, ...]) -> Iterator[tuple[str, Rgb]]:
    """Yield the pictures of some files, or those that training holds out."""
    for file in files:
        with Image.open(file) as picture:
            yield file.name, np.asarray(picture.convert("RGB"))
    if not files:
        for name in pictures.HELD_OUT:
            yield name, pictures.photograph(name)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Print what the network gains over Lanczos on FILES, or on the photographs held out.

    Each is reduced by bicubic resampling, for "photo" also through JPEG of quality 75, and enlarged
    again; PSNR of the luma in decibels, without a border as wide as the scale.
    """
    found = list(_named(files))
    for variant in ("clean", "photo"):
        for scale in (2, 4):
            network = read(variant, scale)
            rows = [gain(network, large, jpeg_quality=quality_for(variant)) for _, large in found]
            click.echo(f"\n{variant} x{scale:<26} Lanczos  compact   gained")
            for (name, _), row in zip(found, rows, strict=True):
                click.echo(_line(name, *row))
            click.echo(_line("mean", *np.mean(rows, axis=0)))


def _line(name: str, theirs: float, ours: float) -> str:
    return f"  {name:32} {theirs:7.2f}  {ours:7.2f}  {ours - theirs:+7.2f}"


if __name__ == "__main__":
    main()
