"""Overlapping tiles and their mean."""

import pytest
import torch

from models.tiling.fuse import Fusion, Mosaic, bell, cut, uniform, whole, windows

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("height", "width", "size", "stride"),
    [(8, 8, 8, 8), (9, 30, 8, 3), (40, 17, 16, 16), (64, 24, 24, 1)],
)
@pytest.mark.parametrize("weights", [uniform, bell])
@pytest.mark.parametrize("at_once", [1, 3])
def test_tiles_that_agree_give_the_picture_they_were_cut_from(
    height, width, size, stride, weights, at_once
):
    picture = torch.rand(1, 2, height, width) - 0.5
    boxes = windows(height, width, size=size, stride=stride)
    mosaic = Mosaic(boxes=boxes, weights=weights(size, size), at_once=at_once)
    fusion = Fusion(mosaic.weights, height, width)

    batches = [*mosaic.batches()]
    for batch in batches:
        fusion.add(batch, cut(picture, batch))

    torch.testing.assert_close(fusion.mean(), picture, atol=1e-6, rtol=1e-5)
    assert [box for batch in batches for box in batch] == list(boxes)
    assert max(map(len, batches)) <= at_once


def test_a_pixel_is_the_weighted_mean_of_the_tiles_it_is_in():
    boxes = windows(2, 3, size=2, stride=1)
    weights = torch.tensor([[1.0, 3.0], [1.0, 1.0]])
    fusion = Fusion(weights, 2, 3)

    fusion.add(boxes, torch.stack([torch.full((1, 2, 2), value) for value in (10.0, 20.0)]))

    assert fusion.mean()[0, 0].tolist() == [[10, (3 * 10 + 20) / 4, 20], [10, 15, 20]]


def test_half_precision_predictions_are_averaged_in_float32():
    size = 64
    fusion = Fusion(bell(size, size), size, size)

    fusion.add(windows(size, size, size=size, stride=size), torch.ones(1, 1, size, size).half())

    mean = fusion.mean()
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, torch.ones(1, 1, size, size))


def test_the_whole_is_one_tile_at_any_scale():
    mosaic = whole(3, 5, CPU).scaled(8)

    (box,) = mosaic.boxes
    assert (box.rows, box.columns, mosaic.weights.shape) == ((0, 24), (0, 40), (24, 40))
