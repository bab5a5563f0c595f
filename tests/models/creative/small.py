"""Small random weights of the Creative upscaler, in the published layouts.

Those of Stable Diffusion 1.5 are Clarity's. Stable Diffusion XL's are made by the libraries that
its own pipeline is of, and written under the original names, which a test holds against those
libraries' own conversion.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.checkpoint.manifest import LocalWeights, look
from models.creative.options import CreativeOptions
from models.creative.pipeline import CreativeUpscaler
from models.creative.schema import CreativeRequest
from models.creative.weights import MANIFEST, SD15
from tests.checkpoints import random_tensor, write_tensors
from tests.models.clarity.small import (
    CONTROLNET,
    VAE,
    small,
    write_base,
    write_lora,
)
from tests.models.diffusion.test_safety import small_checker

NARROW, WIDE, PROJECTED = 64, 128, 96
"""Channels of a token in the two text encoders, and of a whole prompt."""
LAYERS = 3
SIZES = {
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 2,
    "cross_attention_dim": NARROW + WIDE,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (1, 1, 1),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": PROJECTED + 6 * 256,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
}
UP_BLOCKS = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
AROUND = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


class Towers(NamedTuple):
    """The library's own text encoders."""

    narrow: nn.Module
    wide: nn.Module


def filled(network: nn.Module, seed: int) -> nn.Module:
    """Give a network random weights that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(random_tensor(name, list(tensor.shape), generator))
    return network.eval()


@cache
def unet() -> UNet2DConditionModel:
    """Return the library's UNet."""
    return filled(UNet2DConditionModel(**SIZES, up_block_types=UP_BLOCKS), 1)


@cache
def towers() -> Towers:
    """Return the library's text encoders; it takes seconds to import."""
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import (
        CLIPTextModel,
        CLIPTextModelWithProjection,
    )

    def config(width: int, activation: str) -> CLIPTextConfig:
        return CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=LAYERS,
            num_attention_heads=width // 64,
            hidden_act=activation,
            projection_dim=PROJECTED,
        )

    return Towers(
        filled(CLIPTextModel(config(NARROW, "quick_gelu")), 2),
        filled(CLIPTextModelWithProjection(config(WIDE, "gelu")), 3),
    )


def original(name: str) -> str:
    """Return the original name of a tensor of the UNet."""
    for modern, older in AROUND.items():
        name = re.sub(rf"^{re.escape(modern)}\.", f"{older}.", name)
    found = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|\w+samplers)\.(\d)\.(.*)", name)
    if found:
        way, level, kind, index, rest = found.groups()
        name = _block(way, int(level), kind, int(index), rest)
    for modern, older in RESNET.items() if "transformer_blocks" not in name else ():
        name = name.replace(f".{modern}.", f".{older}.")
    return name


def _block(way: str, level: int, kind: str, index: int, rest: str) -> str:
    blocks, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
    if kind == "downsamplers":
        return f"{blocks}.{3 * level + 3}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        return f"{blocks}.{3 * level + 2}.2.{rest}"
    part = 0 if kind == "resnets" else 1
    return f"{blocks}.{first + 3 * level + index}.{part}.{rest}"


def unet_tensors() -> dict[str, Tensor]:
    """Return the UNet's tensors under their original names."""
    return {
        f"model.diffusion_model.{original(name)}": tensor.clone()
        for name, tensor in unet().state_dict().items()
    }


def open_clip_tensors(wide: nn.Module) -> dict[str, Tensor]:
    """Return the second text encoder's tensors under OpenCLIP's names."""
    state = {name.removeprefix("text_model."): each for name, each in wide.state_dict().items()}
    made = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].T,
        "logit_scale": torch.tensor(4.6),
    }
    for layer in range(LAYERS):
        old, new = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            fused = torch.cat([state[f"{old}self_attn.{each}_proj.{kind}"] for each in "qkv"])
            made[f"{new}attn.in_proj_{kind}"] = fused
            for ours, theirs in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                made[f"{new}{ours}.{kind}"] = state[f"{old}{theirs}.{kind}"]
    return made


def write_xl_base(path: Path, *, own_vae: bool = False) -> Path:
    """Write a single file of all networks of Stable Diffusion XL."""
    narrow = {
        f"conditioner.embedders.0.transformer.text_model.{name.removeprefix('text_model.')}": each
        for name, each in towers().narrow.state_dict().items()
    }
    wide = {
        f"conditioner.embedders.1.model.{name}": each
        for name, each in open_clip_tensors(towers().wide).items()
    }
    tensors = {**unet_tensors(), **narrow, **wide, "denoiser.sigmas": torch.rand(1000)}
    if own_vae:
        tensors |= {
            f"first_stage_model.{name}": each
            for name, each in small("vae_ft_mse_original", seed=8).items()
        }
    return write_tensors(path, {name: each.contiguous() for name, each in tensors.items()})


def write_xl_folder(folder: Path) -> Path:
    """Write the same networks as diffusers does."""
    state = dict(unet().state_dict())
    write_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors", state)
    for name, tower in zip(("text_encoder", "text_encoder_2"), towers(), strict=True):
        write_tensors(folder / name / "model.safetensors", dict(tower.state_dict()))
    return folder


def write_xl_controlnet(folder: Path) -> Path:
    """Write a ControlNet in diffusers' layout."""
    network = filled(
        ControlNetModel(**SIZES, conditioning_embedding_out_channels=(16, 32, 96, 256)), 4
    )
    return write_tensors(folder / "diffusion_pytorch_model.safetensors", dict(network.state_dict()))


def write_xl_lora(path: Path) -> Path:
    """Write a LoRA under kohya's names for XL: the UNet's original ones, and both encoders'."""
    generator = torch.Generator().manual_seed(6)
    layers = {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (64, 64),
        "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k": (192, 64),
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (NARROW, NARROW),
        "lora_te2_text_model_encoder_layers_1_mlp_fc1": (WIDE, 4 * WIDE),
    }
    tensors = {}
    for layer, (into, out) in layers.items():
        tensors[f"{layer}.lora_down.weight"] = torch.randn(4, into, generator=generator) / 4
        tensors[f"{layer}.lora_up.weight"] = torch.randn(out, 4, generator=generator) / 4
        tensors[f"{layer}.alpha"] = torch.tensor(4.0)
    return write_tensors(path, tensors)


def write_creative(folder: Path) -> Path:
    """Write all files of the default options, for Stable Diffusion 1.5."""
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder / "juggernaut_reborn.safetensors")
    write_tensors(folder / VAE, small("vae_ft_mse_original"))
    write_tensors(folder / f"{CONTROLNET}.pth", small("controlnet_tile.original_pth", seed=1))
    write_lora(folder / "more_details.safetensors", seed=2)
    small_checker(folder)
    (folder / "safety.bin").rename(folder / "pytorch_model.bin")
    return folder


def write_xl(folder: Path) -> Path:
    """Write the files of Stable Diffusion XL, its ControlNet and a detail LoRA beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_xl_base(folder / "sd_xl_base_1.0.safetensors")
    write_tensors(folder / "sdxl_vae.safetensors", small("vae_ft_mse_original"))
    write_xl_controlnet(folder / "tile_xl")
    write_xl_lora(folder / "detail_xl.safetensors")
    return folder


def load(folder: Path, dtype: str = "float32", **options: object) -> CreativeUpscaler:
    """Load Stable Diffusion 1.5 with small tiles, and nothing that takes long to import."""
    small_ones = {"tile": 32, "enlarger": "lanczos", "captioner": "none"}
    chosen = CreativeOptions.model_validate(small_ones | options)
    files = look(chosen.parts(MANIFEST.variant(None)), folder)
    weights = LocalWeights(variant=SD15, files=files)
    return CreativeUpscaler.load(weights, options=chosen, device="cpu", dtype=dtype)


def quick(**arguments: object) -> CreativeRequest:
    """Return a request of two steps that needs no other endpoint."""
    few = {"num_inference_steps": 2, "skip_ccsr": True, "prompt": "owl", "image_url": "x"}
    return CreativeRequest.model_validate(few | arguments)
