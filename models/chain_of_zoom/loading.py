"""From the published files to networks."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

from models.chain_of_zoom.encoder import Merged, read_encoder_config
from models.chain_of_zoom.enhancer import Enhancer
from models.chain_of_zoom.text import ProjectedClip, Prompts, TextEncoders, Tokenizers
from models.chain_of_zoom.transformer import (
    build_transformer,
    merge_adapter,
    read_adapter,
    read_transformer_config,
)
from models.chain_of_zoom.weights import T5_SHARDS, shard_part
from models.checkpoint.open import Checkpoint, Shape, open_checkpoint
from models.checkpoint.strict import Place, assign, onto
from models.diffusion.autoencoder import build_vae
from models.diffusion.clip import read_tower
from models.diffusion.t5 import SPARE, T5Encoder, read_t5_config
from models.diffusion.unet import GROUPS
from models.errors import WeightsError
from models.placement import stream_blocks

ENCODER = "encoder."
DECODER = "decoder."
POSITION_IDS = (r".*\.position_ids",)


def load_enhancer(files: Mapping[str, Path], *, device: str, dtype: torch.dtype) -> Enhancer:
    """Load the transformer and the autoencoder, and merge their adapters.

    Args:
        files: By the names of the manifest's parts.
        device: Where they compute.
        dtype: Of the transformer; the autoencoder overflows in half precision and stays float32.

    Raises:
        WeightsError: A file is missing, damaged, or does not fit.
    """
    return Enhancer(
        transformer=_load_transformer(files["transformer"], files["adapter"], onto(device, dtype)),
        vae=_load_vae(files["vae"], files["vae encoder"], onto(device, torch.float32)),
    )


def _load_transformer(path: Path, adapter: Path, place: Place) -> SD3Transformer2DModel:
    with open_checkpoint(path) as checkpoint:
        with torch.device("meta"):
            transformer = build_transformer(read_transformer_config(checkpoint.shapes))
        assign(transformer, checkpoint, place=place)
    merge_adapter(transformer, read_adapter(adapter))
    return transformer.eval()


def _load_vae(path: Path, adapted: Path, place: Place) -> AutoencoderKL:
    """Load the adapted encoder, which holds all of it, and the decoder that was published first."""
    with open_checkpoint(path) as base, open_checkpoint(adapted) as checkpoint:
        merged = Merged(checkpoint)
        with torch.device("meta"):
            vae = build_vae(read_encoder_config(merged.shapes, groups=GROUPS))
        assign(vae.encoder, merged, place=place)
        assign(
            vae.decoder,
            base,
            place=place,
            keymap=lambda name: name.removeprefix(DECODER),
            ignorable=(rf"{ENCODER}.*",),
        )
    # What cuDNN's and oneDNN's convolutions are quickest in; the features follow the weights.
    return vae.eval().to(memory_format=torch.channels_last)


def load_prompts(files: Mapping[str, Path], *, device: str, dtype: torch.dtype) -> Prompts:
    """Load the text encoders; beside a GPU they lie in the host's memory and visit it in blocks.

    Args:
        files: By the names of the manifest's parts.
        device: Where they compute.
        dtype: Of their weights; float16 is taken as bfloat16, since T5 overflows in it.

    Raises:
        WeightsError: A file is missing, damaged, or does not fit.
    """
    there = torch.device(device)
    place = onto("cpu", torch.bfloat16 if dtype is torch.float16 else dtype)
    encoders = TextEncoders(
        clip_l=_load_clip(files["clip l"], place, quick=True),
        clip_g=_load_clip(files["clip g"], place, quick=False),
        t5=_load_t5([files[shard_part(number + 1)] for number in range(T5_SHARDS)], place),
    ).eval()
    if there.type != "cpu":
        stream_blocks(encoders, encoders.blocks(), there)
    return Prompts(encoders, Tokenizers(files["t5 tokenizer"]), there)


def _load_clip(path: Path, place: Place, *, quick: bool) -> ProjectedClip:
    with open_checkpoint(path) as checkpoint:
        shapes = checkpoint.shapes
        try:
            words, _ = shapes["text_model.embeddings.token_embedding.weight"]
            places, _ = shapes["text_model.embeddings.position_embedding.weight"]
            projected, _ = shapes["text_projection.weight"]
            config = read_tower(shapes, "text_model.", quick=quick)
        except KeyError as exc:
            message = f"{path} is no text tower of CLIP with a projection: {exc} is missing"
            raise WeightsError(message) from exc
        with torch.device("meta"):
            tower = ProjectedClip(config, projected=projected, words=words, places=places)
        assign(tower, checkpoint, place=place, ignorable=POSITION_IDS)
    return tower


class _Joined:
    """Several files that hold one network, as if they were one."""

    def __init__(self, pieces: Sequence[Checkpoint]) -> None:
        self.path = pieces[0].path
        self._holders = {name: piece for piece in pieces for name in piece.shapes}
        self.shapes: Mapping[str, Shape] = {
            name: holder.shapes[name] for name, holder in self._holders.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: holder.dtypes[name] for name, holder in self._holders.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._holders[name].read(name)


def _load_t5(paths: Sequence[Path], place: Place) -> T5Encoder:
    with ExitStack() as stack:
        joined = _Joined([stack.enter_context(open_checkpoint(path)) for path in paths])
        with torch.device("meta"):
            encoder = T5Encoder(read_t5_config(joined.shapes))
        assign(encoder, joined, place=place, ignorable=SPARE)
    return encoder
