"""The autoencoder: as a whole, and in upstream's tiles."""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.checkpoint import ldm
from models.checkpoint.strict import assign
from models.diffusion.autoencoder import (
    CELL,
    Autoencoder,
    build_vae,
    ignore,
    read_vae_config,
)
from models.tiling import pooled
from models.tiling.autoencoder import decoder_steps, encoder_steps
from models.tiling.pooled import DECODER_MARGIN, ENCODER_MARGIN, split
from models.tiling.vae import Floor
from tests.goldens.case import Case
from tests.goldens.ccsr.networks import PLACE, InMemory, build
from tests.goldens.ccsr.sampling import ALL
from tests.goldens.comparison import EXACT, Comparison, Tolerance, compare

FLOATS = Tolerance(absolute=1e-4)
TILED = Tolerance(absolute=1e-3)

CPU = torch.device("cpu")
FIRST = "first_stage_model."


def check_vae(case: Case) -> Iterator[Comparison]:
    """Encode by both encoders, and decode."""
    vae = build(case)["vae"]
    autoencoder = Autoencoder(vae=vae)
    pixels = case.inputs["image"] * 2 - 1
    moments = vae.quant_conv(vae.encoder(pixels))
    values = {
        "cond_moments": moments,
        "hint": autoencoder.encode(pixels, tile=ALL),
        "first_stage_moments": _first_stage(case, pixels),
        "decoded": autoencoder.decode(case.inputs["latent"], tile=ALL),
    }
    for name, expected in case.outputs.items():
        yield compare(name, values[name], expected, FLOATS)


def _first_stage(case: Case, pixels: Tensor) -> Tensor:
    """Encode by the encoder that the product has no use for."""
    checkpoint = InMemory(
        {
            name.removeprefix(FIRST): tensor
            for name, tensor in case.weights.items()
            if name.startswith(FIRST)
        }
    )
    config = read_vae_config(checkpoint.shapes, "", groups=case.config["norm_num_groups"])
    with torch.device("meta"):
        vae = build_vae(config).eval()
    assign(
        vae,
        checkpoint,
        place=PLACE,
        published=ldm.published_shapes(vae.named_parameters()),
        convert=Tensor.reshape,
        keymap=ldm.autoencoder(len(config.channels)),
    )
    return vae.quant_conv(vae.encoder(pixels))


def check_tiled(case: Case) -> Iterator[Comparison]:
    """Encode or decode in upstream's tiles, and in ours, which give the untiled result."""
    vae, tile = build(case)["vae"], case.config["tile_size"]
    encodes = case.config["kind"] == "encoder"
    if encodes:
        steps, entering = encoder_steps(vae.encoder), case.inputs["image"]
        whole = vae.quant_conv(vae.encoder(entering))
    else:
        steps, entering = decoder_steps(vae.decoder), vae.post_quant_conv(case.inputs["latent"])
        whole = vae.decoder(entering)
        tile *= CELL
    floor = Floor(device=CPU, rest=CPU, tile=tile, tick=ignore)
    tiled = pooled.run(steps, entering, floor)
    tiled = vae.quant_conv(tiled) if encodes else tiled
    yield from _check_boxes(case, entering.shape)
    rms = (tiled - whole).square().mean().sqrt()
    yield compare("untiled_rms", rms, case.intermediate["untiled_rms"], TILED)
    values = {"tiled": tiled, "untiled": whole}
    for name, expected in case.outputs.items():
        yield compare(name, values[name], expected, TILED)


def _check_boxes(case: Case, shape: torch.Size) -> Iterator[Comparison]:
    boxes = _boxes(
        *shape[2:], tile=case.config["tile_size"], decodes=case.config["kind"] != "encoder"
    )
    for name, ends in zip(("in_bboxes", "out_bboxes"), boxes, strict=True):
        yield compare(name, ends, case.intermediate[name], EXACT)


def check_split(case: Case) -> Iterator[Comparison]:
    """Part pictures into upstream's tiles."""
    for number, (decodes, height, width, tile) in enumerate(case.config["decoder_h_w_tile"]):
        given, made = _boxes(height, width, tile=tile, decodes=decodes)
        for name, ends in ((f"in_{number}", given), (f"out_{number}", made)):
            yield compare(name, ends, case.outputs[name], EXACT)


def _boxes(height: int, width: int, *, tile: int, decodes: bool) -> tuple[Tensor, Tensor]:
    """Return the tiles of a picture as upstream writes them: x0, x1, y0, y1."""
    margin = DECODER_MARGIN if decodes else ENCODER_MARGIN
    up, down = (CELL, 1) if decodes else (1, CELL)
    rows, columns = (
        split(length, tile=tile, margin=margin, up=up, down=down) for length in (height, width)
    )
    places = [(row, column) for row in rows for column in columns]
    given = [[*column.given, *row.given] for row, column in places]
    made = [[*column.made, *row.made] for row, column in places]
    return torch.tensor(given), torch.tensor(made)
