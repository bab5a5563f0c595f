"""SeedVR2's reference cases, from ByteDance-Seed/SeedVR and numz/ComfyUI-SeedVR2_VideoUpscaler."""

from tests.goldens.seedvr2.vae import check_vae, check_video_vae

CHECKS = {
    "vae_": check_vae,
    "vae_t5": check_video_vae,
}
