import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.errors import Cancelled, WeightsError
from models.seedvr2.blocks import TOKENS_AT_ONCE, Tokens
from models.seedvr2.config import DIT_3B, DIT_7B, read_dit_config
from models.seedvr2.dit import Dit, ignored_shapes
from models.seedvr2.folding import published_shapes
from models.seedvr2.layout import lay_out
from models.seedvr2.rotary import Rotary, Turns
from models.seedvr2.windows import Grid
from tests.checkpoints import published_shapes as published
from tests.models.seedvr2.naive import attend_by_window
from tests.models.seedvr2.tiny import TINY_3B, TINY_7B, make_dit, relative_error

CPU = torch.device("cpu")
both_published = pytest.mark.parametrize(
    ("file", "config"), [("seedvr2_ema_3b", DIT_3B), ("seedvr2_ema_7b", DIT_7B)]
)
both = pytest.mark.parametrize("config", [TINY_3B, TINY_7B], ids=["3b", "7b"])


@both_published
def test_names_and_shapes_are_the_published_ones(file, config):
    with torch.device("meta"):
        dit = Dit(config)

    assert published_shapes(dit) | ignored_shapes(config) == published(file)


@both_published
def test_the_sizes_are_read_from_the_tensors(file, config):
    assert read_dit_config(published(file)) == config


@both
def test_the_sizes_of_a_small_network_are_read_too(config):
    with torch.device("meta"):
        shapes = published_shapes(Dit(config))

    assert read_dit_config(shapes) == config


def test_other_tensors_are_refused_by_name():
    with pytest.raises(WeightsError, match=r"no SeedVR2 transformer: 'blocks.0.attn.norm_q"):
        read_dit_config(published("ema_vae"))


@both
@pytest.mark.parametrize(
    "grid", [Grid(1, 1, 1), Grid(1, 33, 47), Grid(1, 2, 100), Grid(1, 190, 180)], ids=str
)
@torch.inference_mode()
def test_windows_in_groups_see_what_they_see_one_by_one(config, grid):
    assert TOKENS_AT_ONCE < 190 * 180, "the largest grid is to be worked on in parts"
    attention, rotary = make_dit(config).blocks[0].attn, Rotary.of(config, 5)
    tokens = Tokens(torch.randn(grid.rows * grid.columns, 24), torch.randn(5, 24))

    seen = attention(tokens, lay_out(grid, rotary, shifted=True, device=CPU), answer_text=True)

    expected = attend_by_window(attention, tokens, grid, rotary, shifted=True)
    torch.testing.assert_close(seen.pixels, expected.pixels, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen.text, expected.text, atol=1e-5, rtol=1e-4)


@both
@torch.inference_mode()
def test_flash_kernels_are_enough(config):
    """The kernel that holds no scores is given what it takes: it would refuse, not fall back."""
    dit = make_dit(config).to(torch.bfloat16)
    cells, text = torch.randn(42, 48, 33).bfloat16(), torch.randn(5, 20).bfloat16()

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        velocity = dit(cells, text, torch.tensor([1000.0]))

    assert velocity.isfinite().all()


@both
@torch.inference_mode()
def test_half_precision_stays_close_to_float32(config):
    dit = make_dit(config)
    cells, text = torch.randn(42, 48, 33), torch.randn(5, 20)
    timestep = torch.tensor([1000.0])
    velocity = dit(cells, text, timestep)

    half = dit.to(torch.bfloat16)(cells.bfloat16(), text.bfloat16(), timestep)

    assert half.dtype == torch.bfloat16
    assert relative_error(half, velocity) < 0.05  # 8 bits, four blocks


def test_turning_is_done_in_float32_whatever_the_dtype():
    heads = torch.randn(4, 1, 12).bfloat16()
    turns = Turns.by(torch.full((4, 6), 900.0))  # in bfloat16, 900 and 901 would be the same

    turned = turns.apply(heads)

    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, turns.apply(heads.float()).bfloat16(), atol=0, rtol=0)


@both
def test_it_can_be_stopped_between_two_blocks(config):
    seen = []

    def stop(layer: int) -> None:
        seen.append(layer)
        if layer == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        make_dit(config)(torch.randn(4, 4, 33), torch.randn(5, 20), torch.tensor([1000.0]), stop)

    assert seen == [0, 1, 2]
