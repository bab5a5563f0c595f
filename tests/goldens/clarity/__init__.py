"""Clarity's reference cases, from philz1337x/clarity-upscaler and the libraries that it uses."""

from tests.goldens.clarity.adapting import check_lora
from tests.goldens.clarity.hinting import check_hint
from tests.goldens.clarity.networks import check_rrdbnet, check_tiled_network
from tests.goldens.clarity.prompting import check_chunks, check_fragments, check_tags
from tests.goldens.clarity.sampling import check_sampler, check_sigmas
from tests.goldens.clarity.text import check_embeddings

CHECKS = {
    "clip_weighted_": check_embeddings,
    "control_hint_": check_hint,
    "dpmpp_": check_sampler,
    "esrgan_": check_tiled_network,
    "extra_networks": check_tags,
    "lora_merge_": check_lora,
    "prompt_attention": check_fragments,
    "prompt_chunks": check_chunks,
    "rrdbnet_": check_rrdbnet,
    "sigmas": check_sigmas,
}
