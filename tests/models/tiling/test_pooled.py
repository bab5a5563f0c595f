"""Upstream's tiled autoencoder; that its results are upstream's is shown by reference cases."""

import pytest
import torch

from models.errors import Cancelled
from models.tiling import pooled, vae
from models.tiling.autoencoder import decoder_steps, encoder_steps
from models.tiling.pooled import split
from models.tiling.vae import Floor
from tests.models.ccsr.tiny import make_restorer

CPU = torch.device("cpu")


def make_floor(tile: int, tick=lambda: None) -> Floor:
    return Floor(device=CPU, rest=CPU, tile=tile, tick=tick)


@pytest.mark.parametrize("decodes", [True, False])
@torch.inference_mode()
def test_what_fits_a_tile_with_its_margins_is_not_tiled(decodes):
    coder = make_restorer().autoencoder.vae
    if decodes:
        steps, picture = decoder_steps(coder.decoder), torch.randn(1, 4, 9, 25)
        tile = (25 - 2 * 11) * 8
    else:
        steps, picture = encoder_steps(coder.encoder), torch.randn(1, 3, 64, 96)
        tile = 96 - 2 * 32

    fitting = pooled.run(steps, picture, make_floor(tile))

    assert torch.equal(fitting, vae.run(steps, picture, make_floor(1024)))


@torch.inference_mode()
def test_it_can_be_stopped_between_tiles():
    steps = decoder_steps(make_restorer().autoencoder.vae.decoder)

    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        pooled.run(steps, torch.randn(1, 4, 40, 20), make_floor(64, stop))


@pytest.mark.parametrize("length", [1, 10, 22, 23, 60, 333])
@pytest.mark.parametrize("tile", [1, 13, 226])
def test_parts_make_every_pixel_once_and_see_it(length, tile):
    parts = split(length, tile=tile, margin=11, up=8, down=1)

    ends = [pixel for part in parts for pixel in part.made]
    assert (ends[0], ends[-1]) == (0, 8 * length)
    assert ends[1:-1:2] == ends[2::2]
    assert all(
        part.given.start * 8 <= part.made.start and part.made.stop <= part.given.stop * 8
        for part in parts
    )
