"""SeedVR2's reference cases, from ByteDance-Seed/SeedVR and numz/ComfyUI-SeedVR2_VideoUpscaler."""

from tests.goldens.seedvr2.networks import check_block, check_dit
from tests.goldens.seedvr2.parts import (
    check_modulation,
    check_rotary,
    check_time,
    check_windows,
)
from tests.goldens.seedvr2.vae import check_vae

CHECKS = {
    "block_": check_block,
    "dit_": check_dit,
    "modulation": check_modulation,
    "rope_": check_rotary,
    "time_embedding": check_time,
    "vae_": check_vae,
    "windows": check_windows,
}
