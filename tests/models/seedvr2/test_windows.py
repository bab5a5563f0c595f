import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.seedvr2.config import Flavour
from models.seedvr2.layout import lay_out
from models.seedvr2.rotary import Rotary
from models.seedvr2.windows import Grid, window_boxes, window_size, window_tokens

ROTARY = Rotary(flavour=Flavour.B3, head_width=12, text_length=5)
CPU = torch.device("cpu")

sides = st.integers(1, 120)


@given(sides, sides, st.booleans())
@settings(deadline=None)
def test_every_token_is_in_exactly_one_window(rows, columns, shifted):
    tables = window_tokens(Grid(1, rows, columns), shifted=shifted)

    together = torch.cat([table.flatten() for table in tables.values()])

    assert torch.equal(together.sort().values, torch.arange(rows * columns))
    assert len(tables) <= 9


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [(45, 80, (15, 27)), (256, 256, (20, 20)), (1, 1, (20, 20)), (4, 200, (3, 142))],
)
def test_a_window_follows_the_aspect_ratio_alone(rows, columns, size):
    assert window_size(Grid(1, rows, columns))[1:] == size


def test_an_aspect_ratio_beyond_reason_still_has_windows():
    grid = Grid(1, 1, 20_000)

    boxes = window_boxes(grid, shifted=True)

    assert window_size(grid).rows == 1
    assert sum(box.shape.columns for box in boxes) == 20_000


def test_a_shifted_layer_of_1080p_ends_in_a_window_of_one_row():
    boxes = window_boxes(Grid(1, 68, 120), shifted=True)

    rows = [box.rows.stop - box.rows.start for box in boxes if box.columns.start == 0]
    assert rows == [7, 15, 15, 15, 15, 1]


def test_a_layout_is_computed_once():
    grid = Grid(1, 33, 47)

    first = lay_out(grid, ROTARY, shifted=True, device=CPU)

    assert lay_out(grid, ROTARY, shifted=True, device=CPU) is first
    assert lay_out(grid, ROTARY, shifted=False, device=CPU) is not first


def test_layouts_of_many_sizes_do_not_pile_up():
    for side in range(1, 60):
        lay_out(Grid(1, side, side), ROTARY, shifted=False, device=CPU)

    assert lay_out.cache_info().currsize <= 16
