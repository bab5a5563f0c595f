"""CCSR's reference cases, from csslc/CCSR."""

from tests.goldens.ccsr.networks import check_text, check_unet, check_weights
from tests.goldens.ccsr.pipeline import check_pipeline
from tests.goldens.ccsr.sampling import (
    check_bell,
    check_colours,
    check_schedule,
    check_trajectory,
    check_windows,
)
from tests.goldens.ccsr.vae import check_split, check_tiled, check_vae

CHECKS = {
    "colorfix_": check_colours,
    "gaussian_weights": check_bell,
    "pipeline_": check_pipeline,
    "sampler_": check_trajectory,
    "schedule_": check_schedule,
    "text_": check_text,
    "tile_": check_trajectory,
    "tiled_vae_": check_tiled,
    "unet_control_": check_unet,
    "vae_": check_vae,
    "vae_tile_split": check_split,
    "weights_": check_weights,
    "windows": check_windows,
}
