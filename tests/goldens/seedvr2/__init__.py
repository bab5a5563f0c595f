"""SeedVR2's reference cases, from ByteDance-Seed/SeedVR and numz/ComfyUI-SeedVR2_VideoUpscaler."""

from tests.goldens.seedvr2.networks import check_block, check_dit
from tests.goldens.seedvr2.parts import (
    check_modulation,
    check_rotary,
    check_time,
    check_windows,
)
from tests.goldens.seedvr2.pipeline import check_pipeline
from tests.goldens.seedvr2.prompt import check_prompt
from tests.goldens.seedvr2.sampling import (
    check_colours,
    check_port_transforms,
    check_sampler,
    check_transforms,
)
from tests.goldens.seedvr2.vae import check_vae

CHECKS = {
    "block_": check_block,
    "color_fix": check_colours,
    "dit_": check_dit,
    "modulation": check_modulation,
    "pipeline_": check_pipeline,
    "rope_": check_rotary,
    "sampler": check_sampler,
    "text_embeddings": check_prompt,
    "time_embedding": check_time,
    "transforms": check_transforms,
    "transforms_port": check_port_transforms,
    "vae_": check_vae,
    "windows": check_windows,
}
