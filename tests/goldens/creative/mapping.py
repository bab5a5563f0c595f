"""What each parameter drives, through the product's own functions."""

from collections.abc import Iterator

from models.creative.recipe import plan
from models.creative.schema import CreativeRequest
from models.diffusion.kdiffusion import MOST_STRENGTH, karras, truncated
from models.diffusion.loop import CELL, strengths
from models.schema import Size
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, agree

OUTPUTS = 13
"""Of the ControlNet of Stable Diffusion 1.5."""


def check_map(case: Case) -> Iterator[Comparison]:
    """Plan what is done for many requests."""
    for number, each in enumerate(case.config["cases"]):
        size, params = Size(each["width"], each["height"]), dict(each["params"])
        caption = params.pop("caption", "")
        request = CreativeRequest(image_url="x", **params)
        recipe = plan(request, size, text=request.prompt or caption)
        schedule = truncated(
            karras(request.num_inference_steps, least=0.03, most=14.6), recipe.strength
        )
        made = {
            "output_size": list(request.output_size(size)),
            "padded_size": list(recipe.working),
            "latent_size": [side // CELL for side in recipe.working],
            "denoising_strength": min(recipe.strength, MOST_STRENGTH),
            "model_calls": len(schedule) - 1,
            "detail_lora_weight": recipe.detail,
            "noise_multiplier_without_detail_lora": recipe.noise,
            "control_weight": recipe.firmness,
            "control_scales": list(strengths(OUTPUTS, firmness=recipe.firmness)),
            "prompt": recipe.prompt,
        }
        for name, expected in each["expect"].items():
            yield agree(f"case {number}, {name}", made[name], expected)
