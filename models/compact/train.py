"""Train one of the built-in network's weights: ``python -m models.compact.train``.

Two CPU cores take about an hour and a half for all four (with OMP_WAIT_POLICY=PASSIVE in the
environment, wherever anything else runs beside). A run can be stopped at any moment and goes on
where it was; the same seed, machine and number of threads give the same weights.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from models.compact.network import CompactNetwork, bicubic_cells, folder
from models.compact.training import pictures
from models.compact.training.branches import BranchedNetwork
from models.compact.training.measure import gain, quality_for
from models.compact.training.pairs import PATCH, Pairs
from models.compact.training.pictures import Rgb

BATCH = 16
LEAVES = 240
LEAF_SIDE = 256
RATE = 2e-3
"""Of Muon (Jordan et al. 2024), on the hidden layers' matrices; Adam has half of it on the rest.
After 400 steps Adam alone was 1.2 dB behind, and Muon at 5e-3 0.8 dB."""
WARM_UP = 100
KEPT = 0.998
"""Of the running mean of the weights, each step; the mean is what is stored."""
LOOK_EVERY = 250
EDGE = 4
"""Small pixels at a patch's border whose surroundings the network can't see: not learnt from."""
HUBER = 0.1
"""Errors beyond this count in proportion, not squared."""
LUMA = torch.tensor([65.481, 128.553, 24.966]) / 255


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, and for how long."""

    variant: str
    scale: int
    steps: int
    seed: int


class Run:
    """A training run: its network, the running mean, and the optimisers."""

    def __init__(self, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.step = 0
        self.network = BranchedNetwork(plan.scale)
        self.mean = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(KEPT)
        )
        self._optimisers: Sequence[torch.optim.Optimizer] = (
            torch.optim.Muon(
                self.network.matrices(), lr=RATE, weight_decay=0, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.Adam(self.network.others(), lr=RATE / 2, betas=(0.9, 0.99)),
        )
        self._rates = [group["lr"] for each in self._optimisers for group in each.param_groups]

    def learn(self, small: Tensor, large: Tensor) -> float:
        """Take one step on a batch, and return its loss."""
        self._set_rates()
        small = small.contiguous(memory_format=torch.channels_last)
        loss = difference(self.network(small), large, EDGE * self.plan.scale)
        for each in self._optimisers:
            each.zero_grad()
        loss.backward()
        for each in self._optimisers:
            each.step()
        self.mean.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def _set_rates(self) -> None:
        """Rise over the first steps, then fall in a straight line to nothing."""
        factor = min(1.0, (self.step + 1) / WARM_UP) * (1 - self.step / self.plan.steps)
        groups = [group for each in self._optimisers for group in each.param_groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def folded(self) -> CompactNetwork:
        """Return the network of the mean weights as it will be stored."""
        mean: nn.Module = self.mean.module
        assert isinstance(mean, BranchedNetwork)
        return mean.fold()

    def save(self, path: Path, pairs: Pairs) -> None:
        """Write everything that going on takes; a crash in the middle leaves the last one."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimisers": [each.state_dict() for each in self._optimisers],
            "random": json.dumps(pairs.random.bit_generator.state),
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path: Path, pairs: Pairs) -> None:
        """Go on from what `save` wrote.

        Raises:
            ClickException: It is of another plan, so that going on would mix the two.
        """
        state = torch.load(path, weights_only=True)
        if state["plan"] != asdict(self.plan):
            reason = f"{path} is a run with {state['plan']}; move it away to begin another"
            raise click.ClickException(reason)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.mean.load_state_dict(state["mean"])
        for each, saved in zip(self._optimisers, state["optimisers"], strict=True):
            each.load_state_dict(saved)
        pairs.random.bit_generator.state = json.loads(state["random"])

    def start_from(self, path: Path) -> None:
        """Begin with another run's mean weights, wherever the shapes agree."""
        known = torch.load(path, weights_only=True)["mean"]
        own = self.network.state_dict()
        for name, tensor in own.items():
            other = known.get(f"module.{name}")
            if other is not None and other.shape == tensor.shape:
                own[name] = other
        self.network.load_state_dict(own)
        self.mean.module.load_state_dict(own)


def difference(made: Tensor, true: Tensor, edge: int) -> Tensor:
    """Return the Huber loss of the colours, halved, plus that of the luma.

    Nearly the squared error: where the truth can't be known, after JPEG above all, its mean is the
    best guess, and the absolute error would have the network decide for an edge.
    """
    error = (made - true)[..., edge:-edge, edge:-edge]
    of_luma = torch.einsum("bchw,c->bhw", error, LUMA)
    return _huber(error) / 2 + _huber(of_luma)


def _huber(error: Tensor) -> Tensor:
    return functional.huber_loss(error, torch.zeros(()).expand_as(error), delta=HUBER)


def learnable(work: Path, scale: int) -> list[Rgb]:
    """Return the pictures to learn from; the made ones are kept in `work`."""
    cache = work / "leaves.npz"
    if not cache.exists():
        random = np.random.default_rng(0)
        leaves = track(range(LEAVES), description="drawing pictures")
        partial = cache.with_suffix(".part.npz")
        np.savez(partial, *(pictures.made(random, LEAF_SIDE) for _ in leaves))
        partial.replace(cache)
    made = np.load(cache)
    found = [*pictures.photographs(), *(made[name] for name in made.files)]
    return [picture for picture in found if min(picture.shape[:2]) >= PATCH * scale]


def gains(network: CompactNetwork, variant: str) -> dict[str, tuple[float, float]]:
    """Return each held-out photograph's PSNR by Lanczos and by the network, in decibels."""
    quality = quality_for(variant)
    return {
        name: gain(network, pictures.photograph(name), jpeg_quality=quality)
        for name in pictures.HELD_OUT
    }


@torch.no_grad()
def calmed(network: CompactNetwork, share: float) -> CompactNetwork:
    """Keep so much of what a network adds to bicubic interpolation, and change it in place.

    Less than 1 where it overshoots on pictures softer than those it learnt from.
    """
    bicubic = bicubic_cells(network.scale)
    network.skip.weight.copy_(bicubic.lerp(network.skip.weight, share))
    network.tail.weight.mul_(share)
    assert network.tail.bias is not None, "every convolution but the skip has one"
    network.tail.bias.mul_(share)
    return network


def store(network: CompactNetwork, path: Path) -> None:
    """Write the folded weights in float16: 2**-11 of a weight is less than 8 bits can show."""
    tensors = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    save_file(tensors, path)


@click.command()
@click.option("--variant", type=click.Choice(["clean", "photo"]), required=True)
@click.option("--scale", type=click.Choice(["2", "4"]), required=True)
@click.option("--steps", type=click.IntRange(min=1), default=8000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("compact-training"))
@click.option(
    "--calm",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="How much of what the network adds to bicubic interpolation is stored.",
)
@click.option("--start-from", type=click.Path(path_type=Path), help="Another run's .pt file.")
def main(
    variant: str,
    scale: str,
    steps: int,
    seed: int,
    work: Path,
    calm: float,
    start_from: Path | None,
) -> None:
    """Train the weights of one variant and scale, and write them into the package."""
    plan = Plan(variant=variant, scale=int(scale), steps=steps, seed=seed)
    work.mkdir(parents=True, exist_ok=True)
    name = f"{variant}_x{scale}"
    state = work / f"{name}.pt"
    run = Run(plan)
    pairs = Pairs(learnable(work, plan.scale), variant=variant, scale=plan.scale, seed=seed)
    if state.exists():
        run.resume(state, pairs)
    elif start_from is not None:
        run.start_from(start_from)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as progress:
        task = progress.add_task(name, total=steps, completed=run.step)
        while run.step < steps:
            loss = run.learn(*pairs.batch(BATCH))
            progress.update(task, completed=run.step)
            if run.step % LOOK_EVERY == 0 or run.step == steps:
                run.save(state, pairs)
                found = gains(run.folded(), variant)
                _note(work / f"{name}.csv", run, loss, found)
                progress.console.print(_summary(run, loss, found))
    store(calmed(run.folded(), calm), folder() / f"{name}.safetensors")


def _note(path: Path, run: Run, loss: float, found: Mapping[str, tuple[float, float]]) -> None:
    """Append a line to the curve."""
    with path.open("a", newline="") as file:
        values = [round(value, 3) for pair in found.values() for value in pair]
        csv.writer(file).writerow([run.step, round(loss, 5), *values])


def _summary(run: Run, loss: float, found: Mapping[str, tuple[float, float]]) -> str:
    words = [f"{name} {ours:.2f} ({ours - theirs:+.2f})" for name, (theirs, ours) in found.items()]
    return f"{run.step:6d}  loss {loss:.4f}  " + "  ".join(words)


if __name__ == "__main__":
    main()
