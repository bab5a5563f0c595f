"""The walk without networks."""

import pytest
import torch

from models.ccsr.sampler import Walk, bounds, descend, respace

DEFAULTS = {"t_max": 0.6667, "t_min": 0.3333}
SHAPE = (1, 4, 2, 3)


def walk_through(walk: Walk, *, wasteful: bool = False) -> tuple[torch.Tensor, list[int], int]:
    """Return the clean latent, the timesteps that were asked about, and the number of draws."""
    asked: list[int] = []
    drawn: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def predict(latent: torch.Tensor, timestep: int) -> torch.Tensor:
        asked.append(timestep)
        return latent * 0.1

    def draw() -> torch.Tensor:
        drawn.append(torch.randn(SHAPE, generator=generator))
        return drawn[-1]

    return descend(walk, predict, draw, wasteful=wasteful), asked, len(drawn)


@pytest.mark.parametrize(
    ("steps", "restart", "first", "last", "calls"),
    [
        (15, 9, 9, 5, 6),
        (20, 13, 12, 7, 7),
        (30, 19, 19, 10, 11),
        (45, 29, 29, 15, 16),
        (50, 33, 32, 17, 17),  # noised to 33, then taken for 32
        (100, 66, 66, 33, 35),
    ],
)
def test_the_networks_are_called_as_often_as_upstream_calls_them(
    steps, restart, first, last, calls
):
    walk = Walk.plan(steps=steps, **DEFAULTS)

    _, asked, _ = walk_through(walk)

    assert (walk.restart, walk.indices[0], walk.indices[-1]) == (restart, first, last)
    assert len(asked) == walk.calls == calls
    assert asked[0] == 999
    assert asked[1:] == [walk.timesteps[index] for index in walk.indices]


@pytest.mark.parametrize(("steps", "index", "timestep"), [(45, 22, 499), (21, 10, 499)])
def test_timesteps_are_summed_up_and_not_multiplied_out(steps, index, timestep):
    timesteps = respace(steps)

    assert timesteps[index] == timestep
    assert (timesteps[0], timesteps[-1], len(timesteps)) == (0, 999, steps)


def test_every_timestep_of_the_training_can_be_had():
    assert respace(1000) == tuple(range(1000))
    assert respace(2) == (0, 999)


def test_a_t_min_of_nothing_runs_to_the_end():
    walk = Walk.plan(steps=10, t_max=0.5, t_min=0.04)

    latent, asked, _ = walk_through(walk)

    assert walk.indices == (4, 3, 2, 1, 0)
    assert asked[-1] == 0
    assert walk.step(0).spread == 0
    assert latent.isfinite().all()


def test_one_step_is_enough():
    walk = Walk.plan(steps=10, t_max=0.2, t_min=0.1)

    _, asked, drawn = walk_through(walk)

    assert (len(asked), drawn) == (2, 2)


def test_noise_is_drawn_for_the_start_the_restart_and_all_steps_but_the_last():
    walk = Walk.plan(steps=50, **DEFAULTS)

    assert walk_through(walk)[2] == 2 + 15
    assert walk_through(walk, wasteful=True)[2] == 3 + 15


def test_a_perfect_prediction_leads_to_the_picture():
    """Predicting the very noise that a latent holds of a fixed picture must bring it back."""
    walk = Walk.plan(steps=20, **DEFAULTS)
    picture = torch.linspace(-1, 1, 24).view(SHAPE)
    index = {timestep: index for index, timestep in enumerate(walk.timesteps)}

    def predict(latent: torch.Tensor, timestep: int) -> torch.Tensor:
        alpha = walk.alphas[index[timestep]]
        return (latent - alpha**0.5 * picture) / (1 - alpha) ** 0.5

    generator = torch.Generator().manual_seed(0)
    found = descend(walk, predict, lambda: torch.randn(SHAPE, generator=generator), wasteful=False)

    torch.testing.assert_close(found, picture, atol=1e-4, rtol=0)


def test_bounds_round_halves_to_even_as_upstream_does():
    assert bounds(steps=50, t_max=0.5, t_min=0.25) == (12, 25)
