import pytest
import torch

from models.seedvr2.sampler import (
    LAST,
    add_noise,
    clean_latent,
    condition_timestep,
    network_input,
    upstream_timestep,
)


@pytest.mark.parametrize(
    ("rows", "columns", "timestep"),
    [(64, 64, 137), (136, 240, 356), (270, 480, 655), (540, 960, 879)],
)
def test_upstream_hides_more_of_a_larger_picture(rows, columns, timestep):
    assert round(upstream_timestep(0.1, rows, columns)) == timestep


def test_no_picture_is_hidden_more_than_at_720p():
    sizes = [(8, 8), (64, 64), (90, 160), (136, 240), (540, 960), (3, 4000)]

    timesteps = [condition_timestep(0.1, *size) for size in sizes]

    assert timesteps[:3] == [upstream_timestep(0.1, *size) for size in sizes[:3]]
    assert [round(timestep, 1) for timestep in timesteps[3:5]] == [231.4, 231.4]
    assert max(timesteps) <= upstream_timestep(0.1, 90, 160)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 8000), (90, 160)])
@pytest.mark.parametrize(("scale", "timestep"), [(0.0, 0.0), (1.0, LAST)])
def test_the_ends_of_the_scale_are_nothing_and_everything(scale, timestep, size):
    assert condition_timestep(scale, *size) == pytest.approx(timestep)


def test_more_noise_is_asked_for_by_a_higher_scale():
    timesteps = [condition_timestep(step / 20, 136, 240) for step in range(21)]

    assert timesteps == sorted(timesteps)


def test_the_step_takes_the_noise_out_again():
    latent, noise = torch.randn(4, 6, 16), torch.randn(4, 6, 16)

    assert torch.equal(add_noise(latent, noise, 0.0), latent)
    assert torch.equal(add_noise(latent, noise, LAST), noise)
    torch.testing.assert_close(clean_latent(noise, noise - latent), latent)


def test_every_cell_has_a_condition():
    noise, condition = torch.zeros(2, 2, 16), torch.full((2, 2, 16), 2.0)

    cells = network_input(noise, condition)

    assert cells[0, 0].tolist() == [0.0] * 16 + [2.0] * 16 + [1.0]
