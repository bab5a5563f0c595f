import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chain_of_zoom.window import boxes
from models.schema import Size

SIDES = st.integers(4, 128).map(lambda number: 16 * number)
SHARES = st.floats(0, 1)


@given(width=SIDES, height=SIDES, x=SHARES, y=SHARES, steps=st.integers(1, 8))
def test_every_window_lies_in_its_frame_and_holds_the_target(width, height, x, y, steps):
    size = Size(width, height)
    left, top, share = 0.0, 0.0, 1.0
    for box in boxes(size, (x, y), steps):
        assert box.left >= 0
        assert box.top >= 0
        assert (box.right - box.left, box.bottom - box.top) == (width // 2, height // 2)
        assert box.right <= width
        assert box.bottom <= height
        left, top = left + box.left * share, top + box.top * share
        share /= 2
    # The target, in pixels of the first frame, is in the last window, up to a pixel of its frame.
    assert left - 1 <= x * width <= left + width * share + 1
    assert top - 1 <= y * height <= top + height * share + 1


@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_a_corner_stays_in_its_corner(corner):
    for box in boxes(Size(512, 512), corner, 4):
        assert (box.left, box.top) == (256 * corner[0], 256 * corner[1])
