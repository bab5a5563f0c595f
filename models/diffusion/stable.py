"""Stable Diffusion 1.5 from published files: one checkpoint, or a folder in diffusers' layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import ldm
from models.checkpoint.keymaps import Keymap, by_prefix, rename, unchanged
from models.checkpoint.open import Checkpoint, Shape, open_checkpoint
from models.checkpoint.strict import Place, assign, onto
from models.diffusion.autoencoder import Autoencoder, Tick, build_vae, ignore, read_vae_config
from models.diffusion.clip import ClipText, read_tower
from models.diffusion.compiled import Shapes
from models.diffusion.unet import (
    Steered,
    build_controlnet,
    build_unet,
    read_modern_unet_config,
    read_unet_config,
)
from models.errors import WeightsError
from models.image import Pixels, from_tensor

HEADS = 8
"""Of attention in every level; no tensor tells it."""

UNET = "model.diffusion_model."
CONTROLNET = "control_model."
TEXT = "cond_stage_model.transformer.text_model."
TEXT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Of a text encoder in diffusers' layout."""

UNUSED = (
    r"first_stage_model\..*",  # an autoencoder of its own is used
    r"model_ema\..*",
    r".*\.position_ids",
    # The schedule, computed anew: files of reduced precision have rounded it.
    r"(betas|logvar|\w*alphas_cumprod\w*|posterior_\w+)",
)
VAE_UNUSED = (r"loss\..*", r"model_ema\..*")


@dataclass(frozen=True, kw_only=True)
class StableDiffusion:
    """The networks, unchanged by any picture.

    Attributes:
        steered: The UNet and its ControlNet.
        text: The text encoder.
        autoencoder: Of latents.
        text_2: The second text encoder of Stable Diffusion XL, a larger one.
        projection: From what that one makes of a whole prompt to what the UNet is told of it.
    """

    steered: Steered
    text: ClipText
    autoencoder: Autoencoder
    text_2: ClipText | None = None
    projection: nn.Linear | None = None

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self.steered.unet.device

    def adaptable(self) -> Mapping[str, nn.Module]:
        """Return the networks that LoRAs change, by the names that those use."""
        return {"unet": self.steered.unet, **self.towers()}

    def towers(self) -> Mapping[str, ClipText]:
        """Return the text encoders, by the names that LoRAs and textual inversions use."""
        return {"text": self.text, **({"text_2": self.text_2} if self.text_2 is not None else {})}

    def encode(self, pixels: Pixels, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Return the latent of a picture, `(1, 4, h, w)` float32; see `Autoencoder.encode`.

        Args:
            pixels: `(8 * h, 8 * w, 3)` uint8.
            tile: The longest side of what is worked on at once, in pixels.
            tick: Called before each tile of each layer; may raise to stop.
        """
        there = torch.from_numpy(pixels.copy()).to(self.device)
        signed = there.permute(2, 0, 1)[None].float() / 127.5 - 1
        return self.autoencoder.encode(signed, tile=tile, tick=tick)

    def decode(self, latent: Tensor, *, tile: int, tick: Tick = ignore) -> Pixels:
        """Return the picture of a latent, as `encode` takes it.

        Raises:
            NotFinite: A value is no number.
        """
        decoded = self.autoencoder.decode(latent, tile=tile, tick=tick)
        return from_tensor(decoded[0] / 2 + 0.5, truncated=True)


def load_stable_diffusion(
    *,
    base: Path,
    vae: Path,
    controlnet: Path,
    device: str,
    dtype: torch.dtype,
    compiled: Shapes | None = None,
) -> StableDiffusion:
    """Load the networks strictly.

    Args:
        base: A checkpoint of all networks, or the UNet's file in a folder of diffusers' layout,
            beside whose folder that of the text encoder lies.
        vae: An autoencoder in the original names.
        controlnet: For tiles, in the original layout or diffusers'.
        device: Where they compute.
        dtype: Of their weights.
        compiled: The shapes that UNet and ControlNet are compiled for.

    Raises:
        WeightsError: A file is missing, damaged, or of another model; it says what was found.
        CompilerMissing: Networks are to be compiled, and can't be here.
    """
    place = onto(device, dtype)
    networks = _load_folder(base, place) if base.parent.name == "unet" else _load_file(base, place)
    networks["controlnet"] = _load_controlnet(controlnet, place)
    networks["vae"] = _load_vae(vae, place)
    # What cuDNN's and oneDNN's convolutions are quickest in; the features follow the weights.
    networks = networks.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    text, autoencoder = networks["text"], networks["vae"]
    return StableDiffusion(
        steered=Steered(networks["unet"], networks["controlnet"], compiled=compiled).eval(),
        text=text,
        autoencoder=Autoencoder(vae=autoencoder),
    )


def _load_file(path: Path, place: Place) -> nn.ModuleDict:
    with open_checkpoint(path) as checkpoint:
        _check_generation(checkpoint)
        networks = _build(checkpoint.shapes)
        resnets = ldm.resnets(checkpoint.shapes, UNET)
        keymap = by_prefix({UNET: ("unet.", ldm.unet(resnets)), TEXT: ("text.", unchanged)})
        assign(networks, checkpoint, place=place, keymap=keymap, ignorable=UNUSED)
    return networks


def _build(shapes: Mapping[str, Shape]) -> nn.ModuleDict:
    with torch.device("meta"):
        return nn.ModuleDict(
            {
                "unet": build_unet(read_unet_config(shapes, UNET, heads=HEADS)),
                "text": _build_text(shapes, TEXT),
            }
        )


def _build_text(shapes: Mapping[str, Shape], prefix: str) -> ClipText:
    words, _ = shapes[f"{prefix}embeddings.token_embedding.weight"]
    places, _ = shapes[f"{prefix}embeddings.position_embedding.weight"]
    return ClipText(read_tower(shapes, prefix), words=words, places=places)


def _check_generation(checkpoint: Checkpoint) -> None:
    """Refuse the checkpoint of another model by its name.

    Raises:
        WeightsError: It is none of Stable Diffusion 1.5.
    """
    shapes = checkpoint.shapes
    if f"{UNET}input_blocks.0.0.weight" in shapes and f"{TEXT}final_layer_norm.weight" in shapes:
        return
    kinds = {
        "conditioner.embedders.0.": "Stable Diffusion XL",
        "cond_stage_model.model.": "Stable Diffusion 2",
        "model.diffusion_model.joint_blocks.": "Stable Diffusion 3",
        "lora_unet_": "a LoRA",
    }
    found = next(
        (kind for start, kind in kinds.items() if any(name.startswith(start) for name in shapes)),
        f"something else: it holds {', '.join(list(shapes)[:3])}, ...",
    )
    raise WeightsError(f"{checkpoint.path} is no checkpoint of Stable Diffusion 1.5, but {found}")


def _load_folder(unet: Path, place: Place) -> nn.ModuleDict:
    folder = unet.parent.parent / "text_encoder"
    text = next((folder / name for name in TEXT_FILES if (folder / name).is_file()), None)
    if text is None:
        raise WeightsError(f"{folder} lacks {' or '.join(TEXT_FILES)}, the base's text encoder")
    networks = nn.ModuleDict()
    with open_checkpoint(unet) as checkpoint:
        with torch.device("meta"):
            networks["unet"] = build_unet(read_modern_unet_config(checkpoint.shapes, heads=HEADS))
        assign(networks["unet"], checkpoint, place=place)
    with open_checkpoint(text) as checkpoint:
        # transformers writes the tower's own prefix or leaves it out, by its version.
        keymap = rename(((r"^text_model\.", ""),))
        shapes = {keymap(name): shape for name, shape in checkpoint.shapes.items()}
        with torch.device("meta"):
            networks["text"] = _build_text(shapes, "")
        assign(networks["text"], checkpoint, place=place, keymap=keymap, ignorable=UNUSED)
    return networks


def _load_controlnet(path: Path, place: Place) -> nn.Module:
    with open_checkpoint(path) as checkpoint:
        keymap: Keymap = unchanged
        if any(name.startswith(CONTROLNET) for name in checkpoint.shapes):
            config = read_unet_config(checkpoint.shapes, CONTROLNET, heads=HEADS)
            names = ldm.unet(ldm.resnets(checkpoint.shapes, CONTROLNET))
            keymap = by_prefix({CONTROLNET: ("", names)})
        else:
            config = read_modern_unet_config(checkpoint.shapes, heads=HEADS)
        if not config.hint_channels:
            raise WeightsError(f"{path} is a ControlNet, but none for hints of pixels")
        with torch.device("meta"):
            network = build_controlnet(config)
        assign(network, checkpoint, place=place, keymap=keymap)
    return network


def _load_vae(path: Path, place: Place) -> nn.Module:
    with open_checkpoint(path) as checkpoint:
        config = read_vae_config(checkpoint.shapes, "")
        with torch.device("meta"):
            network = build_vae(config)
        assign(
            network,
            checkpoint,
            place=place,
            published=ldm.published_shapes(network.named_parameters()),
            convert=Tensor.reshape,
            keymap=ldm.autoencoder(len(config.channels)),
            ignorable=VAE_UNUSED,
        )
    return network
