"""Small random weights in the published layout of Chain-of-Zoom, with cut widths and few blocks."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor

from tests.checkpoints import random_tensor, write_tensors

DATA = Path(__file__).parents[2] / "data" / "chain_of_zoom"
TRANSFORMER = "transformer (diffusers, SD3-medium)"
VAE = "vae (diffusers, SD3-medium)"
ADAPTER = "SR_LoRA/model_20001.pkl"
ENCODER = "SR_VAE/vae_encoder_20001.pt"

CLIP_L, CLIP_G, T5 = 16, 24, 48
"""Channels of a token, by encoder."""
WORDS = ("<pad>", "</s>", "<unk>", "fur", "of", "a", "red", "fox")
"""Of T5's vocabulary."""

LANGUAGE_ADAPTER = "VLM_LoRA/checkpoint-10000/adapter_model.safetensors"
LANGUAGE_CONFIG = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1e4,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "tie_word_embeddings": True,
    "vision_config": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
    },
}
"""Of the language model, as its `config.json` has them, with the sizes of the reference case."""
PUBLISHED_LANGUAGE = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"hidden_size": 1280, "out_hidden_size": 2048},
}
"""The sizes of the published `config.json`."""
MARKS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
SPOKEN = "a red fox with long fur sits in the green grass and looks at the small house on the hill"
"""What the language model's tokens are trained on: these words and their pieces."""

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


@cache
def published(part: str) -> Shapes:
    """Return the published names and shapes of one file."""
    with gzip.open(DATA / "keys.json.gz") as keys:
        found = json.load(keys)[part]
    return {
        name: tuple(each["shape"] if isinstance(each, dict) else each)
        for name, each in found.items()
    }


def _draw(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: random_tensor(name, list(shape), generator) for name, shape in shapes.items()}


def transformer_shapes() -> Shapes:
    """Keep the first block and the last, and one head of 64 channels."""
    sizes = {1536: 64, 3072: 128, 6144: 256, 9216: 384, 4096: T5, 2048: CLIP_L + CLIP_G}
    shapes = {}
    for name, shape in published(TRANSFORMER).items():
        block = re.search(r"transformer_blocks\.(\d+)\.", name)
        if block is None or int(block[1]) in (0, 23):
            kept = name.replace("transformer_blocks.23.", "transformer_blocks.1.")
            shapes[kept] = tuple(sizes.get(side, side) for side in shape)
    return shapes


def _cut_vae(shapes: Shapes) -> Shapes:
    """Keep 32 channels, the least that a norm of 32 groups takes, and fewer resnets."""
    # The encoder has two in each level, the decoder three: one each goes.
    extra = re.compile(r"(encoder\.|^)down_blocks\.\d+\.resnets\.1\.|up_blocks\.\d+\.resnets\.2\.")
    channels = {128: 32, 256: 32, 512: 32}
    cut = {}
    for name, shape in shapes.items():
        # Where a level no longer changes the number of channels there is no shortcut.
        if extra.search(name) is None and "conv_shortcut" not in name:
            cut[name] = tuple(channels.get(side, side) for side in shape)
    return cut


def adapter_tensors(seed: int) -> list[Tensor]:
    """Return the adapter's list for the first block and the last."""
    shapes = list(published(ADAPTER).values())
    sizes = {9216: 384, 1536: 64}
    generator = torch.Generator().manual_seed(seed)
    return [
        random_tensor("", [sizes.get(side, side) for side in shape], generator)
        for shape in (*shapes[:4], *shapes[-2:])
    ]


def clip_shapes(width: int, *, layers: int = 2) -> Shapes:
    """Return the published names of a tower with a projection, as transformers writes them."""
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (49408, width),
        "text_model.embeddings.position_embedding.weight": (77, width),
        "text_model.final_layer_norm.weight": (width,),
        "text_model.final_layer_norm.bias": (width,),
        "text_projection.weight": (width, width),
    }
    parts = {
        **{f"self_attn.{each}_proj": (width, width) for each in ("q", "k", "v", "out")},
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
        "layer_norm1": (width,),
        "layer_norm2": (width,),
    }
    for layer in range(layers):
        for part, shape in parts.items():
            name = f"text_model.encoder.layers.{layer}.{part}"
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def t5_shapes(*, layers: int = 2) -> Shapes:
    """Return the published names of T5's encoder, as transformers writes them."""
    shapes: Shapes = {"shared.weight": (len(WORDS), T5), "encoder.final_layer_norm.weight": (T5,)}
    parts = {
        **{f"0.SelfAttention.{each}": (T5, T5) for each in "qkvo"},
        "0.layer_norm": (T5,),
        "1.DenseReluDense.wi_0": (2 * T5, T5),
        "1.DenseReluDense.wi_1": (2 * T5, T5),
        "1.DenseReluDense.wo": (T5, 2 * T5),
        "1.layer_norm": (T5,),
    }
    for layer in range(layers):
        for part, shape in parts.items():
            shapes[f"encoder.block.{layer}.layer.{part}.weight"] = shape
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 4)
    return shapes


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer of a few words in T5's format, which ends each text with a token."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def language_tokenizer() -> Tokenizer:
    """Train a tokenizer of the published kind: pairs of bytes, and marks of a conversation."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=100, show_progress=False, initial_alphabet=list("ABCDEFGHIJKLMNOPQRSTUVWXYZ.,\n")
    )
    tokenizer.train_from_iterator([SPOKEN], trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return tokenizer


def language_shapes(words: int) -> Shapes:
    """Return the published names, which the library has changed since; sizes are the reference's.

    Args:
        words: In the vocabulary.
    """
    start, shapes = "weights/vlm/", {}
    with safe_open(DATA / "vlm_lora.safetensors", framework="pt") as case:
        for name in case.offset_keys():
            if name.startswith(start):
                shape = tuple(case.get_slice(name).get_shape())
                old = name.removeprefix(start).replace("model.language_model.", "model.")
                shapes[old.replace("model.visual.", "visual.")] = shape
    return shapes | {"model.embed_tokens.weight": (words, 32)}


def language_adapter(seed: int) -> dict[str, Tensor]:
    """Return the adapter of the first two blocks under its published names."""
    sizes = {2048: 32, 11008: 48, 256: 16}
    shapes = {
        name: tuple(sizes.get(side, side) for side in shape)
        for name, shape in published(f"{LANGUAGE_ADAPTER} (derived, unverified)").items()
        if re.search(r"layers\.[01]\.", name)
    }
    return _draw(shapes, seed)


def write_language(folder: Path, *, seed: int = 0) -> Path:
    """Write the language model's files under their published names into a folder."""
    tokenizer = language_tokenizer()
    words, marks = tokenizer.get_vocab_size(), tokenizer.token_to_id
    tensors = list(_draw(language_shapes(words), seed).items())
    for number, piece in enumerate((dict(tensors[:20]), dict(tensors[20:])), start=1):
        write_tensors(folder / f"model-{number:05}-of-00002.safetensors", piece)
    ids = {
        "image_token_id": marks("<|image_pad|>"),
        "video_token_id": marks("<|video_pad|>"),
        "vision_start_token_id": marks("<|vision_start|>"),
        "vision_end_token_id": marks("<|vision_end|>"),
        "bos_token_id": marks("<|endoftext|>"),
        "eos_token_id": marks("<|im_end|>"),
        "vocab_size": words,
    }
    (folder / "config.json").write_text(json.dumps(LANGUAGE_CONFIG | ids))
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tensors(folder / LANGUAGE_ADAPTER, language_adapter(seed + 1))
    return folder


def write_chain_of_zoom(folder: Path, *, seed: int = 0) -> Path:
    """Write all files under their published names into a folder."""
    t5 = list(_draw(t5_shapes(), seed).items())
    files = {
        "transformer/diffusion_pytorch_model": dict(_draw(transformer_shapes(), seed)),
        "vae/diffusion_pytorch_model": _draw(_cut_vae(published(VAE)), seed),
        "text_encoder/model": _draw(clip_shapes(CLIP_L), seed),
        "text_encoder_2/model": _draw(clip_shapes(CLIP_G), seed),
        "text_encoder_3/model-00001-of-00002": dict(t5[:5]),
        "text_encoder_3/model-00002-of-00002": dict(t5[5:]),
    }
    for name, tensors in files.items():
        write_tensors(folder / f"{name}.safetensors", tensors)
    encoder = _draw(_cut_vae(published(ENCODER)), seed + 1)
    half = {name: tensor.half() for name, tensor in encoder.items()}
    write_tensors(folder / ENCODER, half)
    (folder / ADAPTER).parent.mkdir(parents=True, exist_ok=True)
    torch.save(adapter_tensors(seed), folder / ADAPTER)
    write_tokenizer(folder / "tokenizer_3" / "tokenizer.json")
    return folder
