import numpy as np
import pytest
import torch

from models.diffusion.hint import control_hint
from models.schema import Size
from tests.pictures import make_pixels


@pytest.mark.parametrize("size", [Size(64, 64), Size(8, 400), Size(37, 29), Size(16, 8)])
def test_a_hint_has_exactly_the_size_that_is_made(size):
    hint = control_hint(make_pixels(37, 29), size)

    assert hint.shape == (1, 3, size.height, size.width)
    assert 0 <= hint.min() <= hint.max() <= 1


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)

    hint = control_hint(pixels, Size(12, 8))

    cells = pixels.reshape(8, 3, 12, 3, 3).astype(float).mean((1, 3))
    assert np.abs(hint[0].permute(1, 2, 0).numpy() * 255 - cells).max() <= 0.51


def test_a_drawing_of_few_colours_gets_no_new_ones():
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[5:, 7:] = (200, 10, 90)

    hint = control_hint(pixels, Size(50, 50))

    assert len(torch.unique(hint.flatten(2), dim=2)[0].T) == 2
