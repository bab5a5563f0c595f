"""The transformer's parts: windows, rotations, modulation, the timestep."""

from collections.abc import Iterator

import torch

from models.seedvr2.config import Flavour
from models.seedvr2.modulation import (
    Embedding,
    Modulation,
    OutputModulation,
    TimeEmbedding,
    sinusoids,
)
from models.seedvr2.rotary import Rotary, Turns
from models.seedvr2.windows import Grid, window_boxes
from tests.goldens.case import Case
from tests.goldens.comparison import EXACT, Comparison, Tolerance, compare

FLOAT32 = Tolerance(absolute=1e-4, relative=1e-4)


def check_windows(case: Case) -> Iterator[Comparison]:
    """Part grids, which the names of the outputs tell."""
    for name, expected in case.outputs.items():
        sizes, kind, value = name.split("/")
        grid = Grid(*map(int, sizes.split("x")))
        boxes = window_boxes(grid, shifted=kind == "shifted")
        if value == "bounds":
            bounds = [[end for axis in box for end in (axis.start, axis.stop)] for box in boxes]
            yield compare(name, torch.tensor(bounds), expected, EXACT)
            continue
        positions = torch.arange(grid.frames * grid.rows * grid.columns).view(*grid)
        order = torch.cat([positions[box].flatten() for box in boxes])
        yield compare(name, order if value == "order" else order.argsort(), expected, EXACT)


def check_rotary(case: Case) -> Iterator[Comparison]:
    """Turn queries and keys of several windows, and of the text once for each of them."""
    config = case.config
    flavour = Flavour.B3 if "txt_q" in case.inputs else Flavour.B7
    rotary = Rotary(
        flavour=flavour, head_width=config["head_dim"], text_length=config.get("text_len", 0)
    )
    shapes = [Grid(*shape) for shape in case.inputs["window_shapes"].tolist()]
    angles = {"vid": torch.cat([rotary.window_angles(shape) for shape in shapes])}
    text = rotary.text_angles()
    if text is not None:
        angles["txt"] = text.repeat(len(shapes), 1)
    for stream, values in angles.items():
        doubled = values.repeat_interleave(2, dim=1)
        name = f"{stream}_angles"
        yield compare(name, doubled, case.intermediate[name], FLOAT32)
    for name, expected in case.outputs.items():
        turned = Turns.by(angles[name[:3]]).apply(case.inputs[name])
        yield compare(name, turned, expected, FLOAT32)


def check_modulation(case: Case) -> Iterator[Comparison]:
    """Modulate the tokens of several samples, each by its own timestep."""
    own = {name: tensor for name, tensor in case.weights.items() if "." not in name}
    final = {
        name.removeprefix("vid_out_ada."): tensor
        for name, tensor in case.weights.items()
        if "." in name
    }
    modulation, output = Modulation(case.config["dim"]), OutputModulation(case.config["dim"])
    modulation.load_state_dict(own, strict=True)
    output.load_state_dict(final, strict=True)
    samples = case.inputs["hid"].split(case.inputs["lens"].tolist())
    found: dict[str, list[torch.Tensor]] = {name: [] for name in case.outputs}
    for tokens, vector in zip(samples, case.inputs["emb"], strict=True):
        embedding = Embedding.parse(vector)
        slots = modulation(embedding)
        found["attn_in"].append(slots.attn.enter(tokens))
        found["attn_out"].append(slots.attn.leave(tokens))
        found["mlp_in"].append(slots.mlp.enter(tokens))
        found["mlp_out"].append(slots.mlp.leave(tokens))
        found["final"].append(output(tokens, embedding))
    for name, expected in case.outputs.items():
        yield compare(name, torch.cat(found[name]), expected, FLOAT32)


def check_time(case: Case) -> Iterator[Comparison]:
    """Embed several timesteps."""
    outputs, hidden = case.weights["proj_out.weight"].shape
    embedding = TimeEmbedding(hidden, outputs)
    embedding.load_state_dict(case.weights, strict=True)
    timesteps = case.inputs["timestep"]
    yield compare("sinusoid", sinusoids(timesteps), case.intermediate["sinusoid"], FLOAT32)
    yield compare("emb", embedding(timesteps), case.outputs["emb"], FLOAT32)
