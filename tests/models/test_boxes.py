"""Where tiles lie, and what each needs of the picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tiling import boxes
from models.tiling.boxes import Reach, Span


@given(length=st.integers(1, 5000), most=st.integers(1, 600))
def test_an_axis_is_parted_without_gaps_into_nearly_equal_spans(length, most):
    spans = boxes.part(length, most=most)

    assert [at for span in spans for at in range(*span)] == list(range(length))
    lengths = {span.length for span in spans}
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1


def test_what_a_chain_needs_is_traced_back_to_the_input():
    chain = [Reach(scale=2, radius=9), Reach(scale=4, radius=5)]

    spans = boxes.needed(Span(81, 100), chain)

    assert spans == [Span(15 // 2 - 9, 15 + 9), Span(20 - 5, 25 + 5), Span(81, 100)]


@given(
    start=st.integers(-100, 100),
    length=st.integers(1, 50),
    chain=st.lists(st.builds(Reach, st.integers(1, 4), st.integers(0, 9)), max_size=3),
)
def test_every_stage_makes_all_that_the_next_one_needs(start, length, chain):
    spans = boxes.needed(Span(start, start + length), chain)

    for reach, before, after in zip(chain, spans[:-1], spans[1:], strict=True):
        assert (before.start + reach.radius) * reach.scale <= after.start
        assert (before.stop - reach.radius) * reach.scale >= after.stop


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_beyond_its_borders_a_picture_goes_on_with_its_outermost_pixels(dtype):
    most = np.iinfo(dtype).max
    pixels = np.repeat(np.array([[0, most], [most // 5, most]], dtype)[..., None], 3, axis=2)

    part = boxes.read(pixels, Span(-2, 3), Span(1, 30))
    corner = boxes.read(pixels, Span(1, 5), Span(-7, 1))

    assert part.shape == (5, 29, 3)
    assert (part == 1).all()
    assert corner.dtype == np.float32
    assert (corner == np.float32(0.2)).all()


def test_a_span_finds_itself_in_what_surrounds_it():
    held = np.arange(10, 40)

    assert list(held[Span(12, 15).within(Span(10, 40))]) == [12, 13, 14]
