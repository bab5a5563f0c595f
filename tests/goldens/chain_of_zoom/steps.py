"""Single steps, in tiles too, and whole zooms."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.chain_of_zoom.enhancer import Enhancer, Tiles
from models.chain_of_zoom.options import ColorFix
from models.chain_of_zoom.pipeline import aligned
from models.chain_of_zoom.window import boxes
from models.image import from_tensor
from models.schema import Size
from models.tiling.fuse import Box, side_bell
from tests.goldens.case import Case
from tests.goldens.chain_of_zoom.networks import autoencoder_of, prompt_of, transformer_of
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-4)
ROUNDED = Tolerance(absolute=2e-3)
LOOP = Tolerance(absolute=3e-3)
TILED = Tolerance(absolute=5e-3)
LEVEL = Tolerance(absolute=1)
ANYWHERE = 4096


def enhancer_of(case: Case) -> Enhancer:
    """Build the networks of a case."""
    return Enhancer(transformer=transformer_of(case), vae=autoencoder_of(case))


def check_step(case: Case) -> Iterator[Comparison]:
    """Take one step."""
    enhancer, inputs = enhancer_of(case), case.inputs
    prompt = prompt_of(case)
    latent = enhancer.encode(inputs["image"], inputs["noise"], tile=ANYWHERE)
    yield compare("latent_in", latent, case.intermediate["latent_in"], FLOAT32)
    velocity = enhancer.velocity(latent, prompt)
    expected = case.intermediate["velocity_fp32_modulation"]
    yield compare("velocity_fp32_modulation", velocity, expected, FLOAT32)
    made = enhancer.decode(enhancer.enhance(latent, [prompt]), tile=ANYWHERE)
    expected = case.outputs["image_fp32_modulation"]
    yield compare("image_fp32_modulation", made, expected, FLOAT32)
    yield compare("image", made, case.outputs["image"], ROUNDED)
    yield compare("image_uint8", _levels(made), case.outputs["image_uint8"], LEVEL)


def _levels(pixels: Tensor) -> Tensor:
    return torch.from_numpy(from_tensor(pixels[0] / 2 + 0.5, truncated=True).copy())


def check_tiled_step(case: Case) -> Iterator[Comparison]:
    """Take one step in tiles that have a prompt each."""
    side, overlap = case.config["latent_tile"], case.config["latent_overlap"]
    tiles = Tiles(whole=side, side=side, overlap=overlap)
    enhancer = replace(enhancer_of(case), tiles=tiles)
    image = _signed(case.inputs["image_uint8"])
    latent = enhancer.encode(image, case.inputs["noise"], tile=ANYWHERE)
    yield compare("latent_in", latent, case.intermediate["latent_in"], FLOAT32)
    places = enhancer.lay_out(*latent.shape[2:])
    origins = torch.tensor([[box.rows.start, box.columns.start] for box in places])
    yield compare("tile_origins_yx", origins, case.intermediate["tile_origins_yx"], Tolerance())
    prompts = [prompt_of(case, number) for number in range(len(places))]
    made = enhancer.enhance(latent, prompts) * _dimmed(places, *latent.shape[2:])
    expected = case.outputs["latent_fp32_modulation"]
    yield compare("latent_fp32_modulation", made, expected, FLOAT32)
    yield compare("latent", made, case.outputs["latent"], TILED)
    yield skip("image", "upstream's tiles alone are decoded without the shift; ours never are")


def _dimmed(places: Sequence[Box], height: int, width: int) -> Tensor:
    """Return by how much upstream dims each cell: it divides by the weights and a little more.

    In corners the weights themselves are as little, so that the product leaves that out.
    """
    weights = side_bell(places[0].rows.length, places[0].columns.length)
    total = torch.zeros(height, width, dtype=torch.float64)
    for box in places:
        box.cut(total).add_(weights)
    return (total / (total + 1e-10)).float()


def _signed(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def check_zoom(case: Case) -> Iterator[Comparison]:
    """Go through a zoom, each step from the recorded frame before it."""
    enhancer, config = enhancer_of(case), case.config
    first = case.inputs["image_uint8"]
    if "0_uint8" in case.outputs:
        first = case.outputs["0_uint8"]
        cut = _first_frame(case.inputs["image_uint8"].numpy(), config["process_size"])
        yield compare("0_uint8", torch.from_numpy(cut), first, LEVEL)
    frame, size = first, Size(first.shape[1], first.shape[0])
    centre = tuple(config.get("center", (0.5, 0.5)))
    windows = boxes(size, centre, config["rec_num"], factor=config["upscale"])
    # Without a centre of its own upstream's box is always the middle one.
    middle = next(boxes(size, (0.5, 0.5), 1, factor=config["upscale"]))
    for number, box in enumerate(windows, start=1):
        chosen = box if "center" in config else middle
        cropped = Image.fromarray(frame.numpy()).crop(chosen)
        seen = np.array(cropped.resize(size, Image.Resampling.BICUBIC))
        recorded = case.intermediate[f"step{number}_sr_input_uint8"]
        yield compare(f"step{number}_sr_input_uint8", torch.from_numpy(seen), recorded, Tolerance())
        latent = enhancer.encode(
            _signed(recorded), case.inputs[f"step{number}_noise"], tile=ANYWHERE
        )
        prompt = prompt_of(case, prefix=f"step{number}_")
        raw = enhancer.decode(enhancer.enhance(latent, [prompt]), tile=ANYWHERE)
        name = f"step{number}_raw"
        yield compare(name, raw.clamp(-1, 1), case.intermediate[name].clamp(-1, 1), LOOP)
        frame = case.outputs[f"{number}_uint8"]
        yield compare(f"{number}_uint8", _aligned(raw, recorded, config), frame, LEVEL)


def _aligned(raw: Tensor, seen: Tensor, config: dict) -> Tensor:
    method = config.get("align_method", "nofix").replace("nofix", "none")
    fixed = aligned(_levels(raw).numpy(), seen.numpy(), ColorFix(method))
    return torch.from_numpy(fixed.copy())


def _first_frame(pixels: np.ndarray, side: int) -> np.ndarray:
    """Fit a picture over a square as upstream does; the product never cuts the sides off."""
    image = Image.fromarray(pixels)
    ratio = side / min(image.size)
    image = image.resize(
        (int(image.width * ratio), int(image.height * ratio)), Image.Resampling.LANCZOS
    )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.array(image.crop((left, top, left + side, top + side)))
