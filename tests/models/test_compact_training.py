import numpy as np
import pytest
import torch
from click import ClickException
from click.testing import CliRunner
from PIL import Image
from torch.nn import functional

from models.compact.network import bicubic_cells, parse, read
from models.compact.train import Plan, Run, calmed, gains, store
from models.compact.training import fidelity, measure, pictures
from models.compact.training.pairs import PATCH, Pairs, degrade


def make_run(steps=4) -> tuple[Run, Pairs]:
    random = np.random.default_rng(5)
    found = [random.integers(0, 256, (120, 130, 3), dtype=np.uint8)]
    plan = Plan(variant="photo", scale=2, steps=steps, seed=3)
    return Run(plan), Pairs(found, variant="photo", scale=2, seed=3)


def learn(run: Run, pairs: Pairs, steps: int) -> list[float]:
    return [run.learn(*pairs.batch(2)) for _ in range(steps)]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    whole, pairs = make_run()
    losses = learn(whole, pairs, 4)
    first, pairs = make_run()
    learn(first, pairs, 2)
    first.save(tmp_path / "state.pt", pairs)

    second, pairs = make_run()
    second.resume(tmp_path / "state.pt", pairs)

    assert learn(second, pairs, 2) == pytest.approx(losses[2:], rel=1e-4)
    assert second.step == 4


def test_a_step_moves_every_parameter():
    run, pairs = make_run()
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}

    learn(run, pairs, 2)

    after = dict(run.network.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_a_run_can_start_from_one_of_another_scale(tmp_path):
    known, pairs = make_run()
    learn(known, pairs, 2)
    known.save(tmp_path / "state.pt", pairs)
    run = Run(Plan(variant="clean", scale=4, steps=4, seed=9))

    run.start_from(tmp_path / "state.pt")

    torch.testing.assert_close(run.network.body[3].direct, known.mean.module.body[3].direct)
    assert run.network.tail.direct.shape[0] == 48


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("variant", ["clean", "photo"])
def test_pairs_fit_each_other(variant, scale):
    side = PATCH * scale
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    large = np.repeat(np.tile(ramp, (side, 1))[..., None], 3, axis=2)

    small = degrade(np.random.default_rng(0), large, scale, variant)

    assert small.shape == (PATCH, PATCH, 3)
    cells = large.reshape(PATCH, scale, PATCH, scale, 3).mean(axis=(1, 3))
    assert np.abs(small[4:-4, 4:-4] - cells[4:-4, 4:-4]).max() < 12


def test_made_pictures_are_seeded_and_differ():
    one, again, other = (pictures.made(np.random.default_rng(seed), 48) for seed in (1, 1, 2))

    assert one.shape == (48, 48, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_nothing_that_is_held_out_is_learnt_from():
    assert not set(pictures.HELD_OUT) & set(pictures.TRAINING)


@pytest.mark.parametrize(
    ("variant", "scale", "least"),
    [("clean", 2, 1.3), ("clean", 4, 0.7), ("photo", 2, 0.5), ("photo", 4, 0.3)],
)
def test_held_out_photographs_gain_over_lanczos(variant, scale, least):
    found = gains(read(variant, scale), variant)

    won = [ours - theirs for theirs, ours in found.values()]
    assert np.mean(won) >= least, found
    assert min(won) >= -0.1, found


def test_stored_weights_come_back_within_what_eight_bits_can_show(tmp_path):
    net = read("clean", 2)
    store(net, tmp_path / "w.safetensors")
    pixels = torch.rand(1, 3, 20, 20)

    again = parse((tmp_path / "w.safetensors").read_bytes(), 2)

    torch.testing.assert_close(again(pixels), net(pixels), atol=0.25 / 255, rtol=0)


@torch.no_grad()
def test_calming_all_the_way_leaves_bicubic_interpolation():
    net = calmed(read("photo", 4), 0.0)
    pixels = torch.rand(1, 3, 20, 20)

    expected = functional.conv2d(pixels, bicubic_cells(4), padding=2, groups=3)

    torch.testing.assert_close(net(pixels), functional.pixel_shuffle(expected, 4))


def test_a_run_of_another_plan_is_not_gone_on_with(tmp_path):
    run, pairs = make_run(steps=4)
    run.save(tmp_path / "state.pt", pairs)
    other, pairs = make_run(steps=5)

    with pytest.raises(ClickException, match="'steps': 4"):
        other.resume(tmp_path / "state.pt", pairs)


def test_measuring_prints_a_line_for_each_picture_and_their_mean(tmp_path):
    Image.fromarray(pictures.photograph("coins.png")).save(tmp_path / "coins.png")

    answer = CliRunner().invoke(measure.main, [str(tmp_path / "coins.png")])

    assert answer.exit_code == 0, answer.output
    assert answer.output.count("coins.png") == answer.output.count("mean") == 4


def test_psnr_is_that_of_the_luma():
    black, grey = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 100, np.uint8)

    # 100 grey levels are 100 * 219 / 255 of studio luma.
    expected = 20 * np.log10(255 / (100 * 219 / 255))
    assert fidelity.psnr(black, grey, border=2) == pytest.approx(expected)
