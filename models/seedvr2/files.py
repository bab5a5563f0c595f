"""The names of the published files, by variant; torch-free.

The official ones first, then conversions of github.com/numz/ComfyUI-SeedVR2_VideoUpscaler. In those
of fp8 every tensor is a plain cast, without scales.
"""

from pathlib import Path

from models.errors import WeightsError
from models.seedvr2.schema import Variant

DIT_FILES = {
    Variant.B3: (
        "seedvr2_ema_3b.pth",
        "seedvr2_ema_3b_fp16.safetensors",
        "seedvr2_ema_3b_fp8_e4m3fn.safetensors",
    ),
    Variant.B7: (
        "seedvr2_ema_7b.pth",
        "seedvr2_ema_7b_fp16.safetensors",
        "seedvr2_ema_7b_fp8_e4m3fn_mixed_block35_fp16.safetensors",
    ),
    Variant.B7_SHARP: (
        "seedvr2_ema_7b_sharp.pth",
        "seedvr2_ema_7b_sharp_fp16.safetensors",
        "seedvr2_ema_7b_sharp_fp8_e4m3fn_mixed_block35_fp16.safetensors",
    ),
}
VAE_FILES = ("ema_vae.pth", "ema_vae_fp16.safetensors")


def find(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of the files that is there.

    Raises:
        WeightsError: None is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has none of {', '.join(names)}; put one of them there")
