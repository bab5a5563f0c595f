"""From the published files to networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

from models.chain_of_zoom.encoder import Merged, read_encoder_config
from models.chain_of_zoom.enhancer import Enhancer
from models.chain_of_zoom.text import ProjectedClip, Prompts, TextEncoders, Tokenizers
from models.chain_of_zoom.transformer import (
    build_transformer,
    merge_adapter,
    read_adapter,
    read_transformer_config,
)
from models.chain_of_zoom.weights import (
    LANGUAGE_SHARDS,
    T5_SHARDS,
    language_part,
    shard_part,
)
from models.checkpoint.open import open_checkpoint
from models.checkpoint.shards import open_shards
from models.checkpoint.strict import Place, assign, onto
from models.diffusion.autoencoder import build_vae
from models.diffusion.clip import read_tower
from models.diffusion.t5 import SPARE, T5Encoder, read_t5_config
from models.diffusion.unet import GROUPS
from models.errors import WeightsError
from models.placement import stream_blocks

if TYPE_CHECKING:
    from models.chain_of_zoom.prompter import Prompter

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
    there, place = torch.device(device), _on_host(dtype)
    encoders = TextEncoders(
        clip_l=_load_clip(files["clip l"], place, quick=True),
        clip_g=_load_clip(files["clip g"], place, quick=False),
        t5=_load_t5([files[shard_part(number + 1)] for number in range(T5_SHARDS)], place),
    ).eval()
    if there.type != "cpu":
        stream_blocks(encoders, encoders.blocks(), there)
    return Prompts(encoders, Tokenizers(files["t5 tokenizer"]), there)


def _on_host(dtype: torch.dtype) -> Place:
    return onto("cpu", torch.bfloat16 if dtype is torch.float16 else dtype)


def load_prompter(files: Mapping[str, Path], *, device: str, dtype: torch.dtype) -> "Prompter":
    """Load the language model; beside a GPU it lies in the host's memory while it isn't asked.

    Args:
        files: By the names of the manifest's parts.
        device: Where it computes.
        dtype: Of its weights; float16 is taken as bfloat16, which it was published in.

    Raises:
        WeightsError: A file is missing, damaged, or does not fit.
    """
    # Only here: the library of its networks takes a second to be imported.
    from models.chain_of_zoom.language import load_language, read_language_config
    from models.chain_of_zoom.prompter import Prompter, Vocabulary

    config = read_language_config(files["language config"])
    vocabulary = Vocabulary(files["language tokenizer"], picture=config.image_token_id)
    shards = [files[language_part(number + 1)] for number in range(LANGUAGE_SHARDS)]
    network = load_language(config, shards, files["language adapter"], place=_on_host(dtype))
    return Prompter(network, vocabulary, torch.device(device))


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


def _load_t5(paths: Sequence[Path], place: Place) -> T5Encoder:
    with open_shards(paths) as joined:
        with torch.device("meta"):
            encoder = T5Encoder(read_t5_config(joined.shapes))
        assign(encoder, joined, place=place, ignorable=SPARE)
    return encoder
