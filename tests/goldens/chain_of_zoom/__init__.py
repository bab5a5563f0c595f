"""Chain-of-Zoom's reference cases, from bryanswkim/Chain-of-Zoom."""

from tests.goldens.chain_of_zoom.language import check_language
from tests.goldens.chain_of_zoom.networks import (
    check_autoencoder,
    check_tiled_decoder,
    check_tiled_encoder,
    check_transformer,
)
from tests.goldens.chain_of_zoom.parts import check_boxes, check_colours, check_weights
from tests.goldens.chain_of_zoom.steps import check_step, check_tiled_step, check_zoom
from tests.goldens.chain_of_zoom.text import check_text

CHECKS = {
    "color_fix": check_colours,
    "crop_boxes": check_boxes,
    "sr_step": check_step,
    "sr_step_tiled": check_tiled_step,
    "text_encode": check_text,
    "tile_weights": check_weights,
    "transformer_lora": check_transformer,
    "vae_lora": check_autoencoder,
    "vae_tiled_decode": check_tiled_decoder,
    "vae_tiled_encode": check_tiled_encoder,
    "vlm_lora": check_language,
    "zoom_": check_zoom,
}
