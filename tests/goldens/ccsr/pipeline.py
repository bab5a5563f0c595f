"""Everything, from 8-bit pixels to 8-bit pixels, with recorded noise."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.ccsr.pipeline import finish, prepare
from models.ccsr.sampler import Walk
from models.ccsr.schema import CcsrRequest
from models.diffusion.autoencoder import CELL
from models.diffusion.noise import RecordedNoise
from models.image import from_tensor
from models.schema import Size
from models.tiling import pooled
from tests.goldens.case import Case
from tests.goldens.ccsr.networks import build_restorer
from tests.goldens.ccsr.sampling import ALL, LATENT, recipe_of, recorded
from tests.goldens.comparison import EXACT, Comparison, Tolerance, compare

LEVELS = Tolerance(absolute=1, share=0.005)
MEAN = Tolerance(absolute=1e-3)


def check_pipeline(case: Case) -> Iterator[Comparison]:
    """Enlarge, restore, and bring to size; only the decoder is tiled, as upstream does it."""
    config = case.config
    request = request_of(config)
    pixels = case.inputs["rgb"].numpy()
    size = Size(pixels.shape[1], pixels.shape[0])
    lowered = prepare(pixels, request)
    source = (torch.from_numpy(lowered).permute(2, 0, 1)[None].float() / 255).contiguous()
    restorer = build_restorer(case, pooled.run)
    recipe = recipe_of(
        {
            **config,
            "mode": config["tile_diffusion"],
            "tile_size": config["tile_diffusion_size"],
            "tile_stride": config["tile_diffusion_stride"],
            "color_fix": config["color_fix_type"],
        },
        decoder_tile=config["tile_vae_decoder_size"] * CELL if config["tile_vae"] else ALL,
    )
    walk = Walk.plan(steps=recipe.steps, t_max=recipe.t_max, t_min=recipe.t_min)
    hints = restorer.encode(source, recipe)
    noise = RecordedNoise(recorded(case, wasteful="noise_unused" in case.inputs))
    latent = restorer.denoise(source, hints, recipe, noise)
    first = restorer.predictor(source, hints, recipe)(case.inputs["x_T"], walk.timesteps[-1])
    restored = restorer.decode(latent, source, recipe)
    values = {
        "upscaled_lq_size_wh": torch.tensor(request.output_size(size)),
        "processing_size_wh": torch.tensor(request.working_size(size)),
        "lq": torch.from_numpy(lowered),
        "lq_mean_rgb": 255 * source.mean((0, 2, 3)),
        "first_x0": walk.clean(case.inputs["x_T"], first, len(walk.timesteps) - 1),
        "pred_rgb": torch.from_numpy(from_tensor(restored[0], truncated=True)),
        "latent": latent,
        "rgb": torch.from_numpy(finish(restored, request.output_size(size))),
    }
    for name, expected in (case.intermediate | case.outputs).items():
        yield compare(name, values[name], expected, _tolerance(name, expected))


def _tolerance(name: str, expected: Tensor) -> Tolerance:
    if name == "lq_mean_rgb":
        return MEAN
    if expected.is_floating_point():
        return LATENT
    return LEVELS if name in {"pred_rgb", "rgb"} else EXACT


def request_of(config: dict[str, Any]) -> CcsrRequest:
    """Return the request of a case; fewer steps than the endpoint allows are no fault here."""
    names = CcsrRequest.model_fields.keys() & config.keys()
    return CcsrRequest.model_construct(
        image_url="picture.png",
        **{name: CcsrRequest.model_fields[name].annotation(config[name]) for name in names},
    )
