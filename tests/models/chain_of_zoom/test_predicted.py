"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

from functools import cache

import torch
from torch import nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from models.chain_of_zoom.enhancer import WIDE, Enhancer, Prompt
from models.chain_of_zoom.language import build_language
from models.chain_of_zoom.pipeline import VAE_TILE
from models.chain_of_zoom.text import PLACES, T5_TOKENS, ProjectedClip, TextEncoders
from models.chain_of_zoom.transformer import TransformerConfig, build_transformer
from models.diffusion.autoencoder import VaeConfig, build_vae
from models.diffusion.clip import TowerConfig
from models.diffusion.t5 import T5Config, T5Encoder
from models.placement import ALIGNMENT
from tests.models.chain_of_zoom.small import PUBLISHED_LANGUAGE
from tests.prediction import DEVICE, Prediction, built, place, predicting

BFLOAT16 = torch.bfloat16
SHALLOW = TransformerConfig(layers=2)  # a block's activations die with it
WIDE_CLIP = TowerConfig(width=1280, inner=5120, layers=32, heads=20, quick=False)


def make_vae() -> nn.Module:
    return build_vae(VaeConfig(cells=16, quantised=False))


def make_encoders() -> TextEncoders:
    return TextEncoders(
        clip_l=ProjectedClip(TowerConfig(), projected=768, words=49408, places=77),
        clip_g=ProjectedClip(WIDE_CLIP, projected=1280, words=49408, places=77),
        t5=T5Encoder(T5Config()),
    )


def size_of(module: nn.Module) -> int:
    return sum(each.nbytes for each in module.parameters())


@cache
def resting() -> int:
    """Return the bytes of what is on the device at all times.

    The transformer and the autoencoder; of the text encoders what is in no block, and two rooms for
    the largest block.
    """
    transformer = built(lambda: build_transformer(TransformerConfig()), BFLOAT16)
    encoders = built(make_encoders, BFLOAT16)
    blocks = [size_of(block) for block in encoders.blocks()]
    largest = max(blocks) + ALIGNMENT * 20
    vae = built(make_vae, torch.float32)
    return size_of(transformer) + size_of(vae) + size_of(encoders) - sum(blocks) + 2 * largest


@cache
def predict_step(side: int, *, divisor: int = 1) -> int:
    """Predict what a step of square frames takes beside the weights, in its worst moment."""
    transformer = built(lambda: build_transformer(SHALLOW), BFLOAT16)
    vae = built(make_vae, torch.float32)
    tile = VAE_TILE // divisor
    with predicting() as prediction:
        place(transformer, DEVICE)
        place(vae, DEVICE)
        transformer.pos_embed.pos_embed = torch.empty(1, 192**2, 1536, device=DEVICE)
        enhancer = Enhancer(transformer=transformer, vae=vae, tiles=WIDE.divided(divisor))
        weights = prediction.live[DEVICE.type]
        prompt = Prompt(
            tokens=torch.empty(1, PLACES + T5_TOKENS, 4096, device=DEVICE),
            pooled=torch.empty(1, 2048, device=DEVICE),
        )
        noise = torch.empty(1, 16, side // 8, side // 8, device=DEVICE)
        latent = enhancer.encode(torch.empty(1, 3, side, side, device=DEVICE), noise, tile=tile)
        enhancer.decode(enhancer.enhance(latent, [prompt]), tile=tile)
    return prediction.peak[DEVICE.type] - weights


def predict_language(tokens: int) -> Prediction:
    """Predict the first reading of a question, with four of the blocks: each remembers it."""
    config = Qwen2_5_VLConfig.from_dict(PUBLISHED_LANGUAGE | {"num_hidden_layers": 4})
    model = built(lambda: build_language(config).model.language_model, BFLOAT16)
    with predicting() as prediction:
        place(model, DEVICE)
        model.rotary_emb.inv_freq = torch.empty(64, device=DEVICE)
        weights = prediction.live[DEVICE.type]
        model(
            inputs_embeds=torch.empty(1, tokens, 2048, dtype=BFLOAT16, device=DEVICE),
            position_ids=torch.empty(3, 1, tokens, dtype=torch.long, device=DEVICE),
            use_cache=True,
        )
    prediction.peak[DEVICE.type] -= weights
    return prediction


def test_without_a_language_model_frames_of_1_megapixel_fit_a_device_of_12_gb():
    assert resting() + predict_step(1024) < 12e9 / 1.25


def test_with_a_language_model_they_fit_a_device_of_24_gb():
    config = Qwen2_5_VLConfig.from_dict(PUBLISHED_LANGUAGE)
    language = size_of(built(lambda: build_language(config), BFLOAT16))
    reading = predict_language(1400).peak[DEVICE.type]  # two pictures of 1024 x 512

    assert resting() + max(language + 9 * reading, predict_step(1024)) < 24e9 / 1.25
