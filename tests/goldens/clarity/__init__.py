"""Clarity's reference cases, from philz1337x/clarity-upscaler and the libraries that it uses."""

from tests.goldens.clarity.adapting import check_lora
from tests.goldens.clarity.hinting import check_hint
from tests.goldens.clarity.looping import check_boxes, check_forward, check_loop, check_step
from tests.goldens.clarity.networks import check_rrdbnet, check_tiled_network
from tests.goldens.clarity.planning import check_passes, check_schedule, check_vae_boxes
from tests.goldens.clarity.prompting import check_chunks, check_fragments, check_tags
from tests.goldens.clarity.sampling import check_sampler, check_sigmas
from tests.goldens.clarity.text import check_embeddings

CHECKS = {
    "clarity_latent_loop_": check_loop,
    "clip_weighted_": check_embeddings,
    "control_hint_": check_hint,
    "dpmpp_": check_sampler,
    "esrgan_": check_tiled_network,
    "extra_networks": check_tags,
    "lora_merge_": check_lora,
    "multidiffusion_boxes": check_boxes,
    "multidiffusion_step_": check_step,
    "pass_plan": check_passes,
    "prompt_attention": check_fragments,
    "prompt_chunks": check_chunks,
    "prompt_schedule": check_schedule,
    "rrdbnet_": check_rrdbnet,
    "sigmas": check_sigmas,
    "tiled_vae_boxes": check_vae_boxes,
    "unet_controlnet_forward": check_forward,
}
