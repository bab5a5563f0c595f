"""The transformer and the autoencoder, each with its adapter."""

from collections.abc import Iterator

import torch

from models.chain_of_zoom.encoder import Merged, read_encoder_config
from models.chain_of_zoom.enhancer import Enhancer, Prompt
from models.chain_of_zoom.transformer import (
    build_transformer,
    merge_adapter,
    read_transformer_config,
)
from models.checkpoint.strict import assign, onto
from models.diffusion.autoencoder import build_vae
from models.tiling import pooled
from models.tiling.autoencoder import decoder_steps, encoder_steps
from models.tiling.vae import Floor
from tests.goldens.case import Case
from tests.goldens.clarity.networks import InMemory
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-4)
ROUNDED = Tolerance(absolute=5e-3)
TILED = Tolerance(absolute=1e-3)
PLACE = onto("cpu", torch.float32)
CPU = torch.device("cpu")


def transformer_of(case: Case):
    """Build the transformer of a case, with its adapter."""
    weights = InMemory(case.below("transformer"))
    head_width = case.config["transformer"]["attention_head_dim"]
    with torch.device("meta"):
        transformer = build_transformer(
            read_transformer_config(weights.shapes, head_width=head_width)
        )
    assign(transformer, weights, place=PLACE)
    adapter = case.below("sr_lora")
    merge_adapter(transformer, [adapter[name] for name in sorted(adapter)])
    return transformer.eval()


def autoencoder_of(case: Case):
    """Build the autoencoder of a case; what half of it the case lacks stays on the meta device."""
    groups = case.config["vae"]["norm_num_groups"]
    encoder, decoder = case.below("sr_vae_encoder"), case.below("vae")
    if encoder:
        merged = Merged(InMemory(encoder))
        config = read_encoder_config(merged.shapes, groups=groups)
    else:
        config = _config_of_decoder(case)
    with torch.device("meta"):
        vae = build_vae(config)
    if encoder:
        assign(vae.encoder, merged, place=PLACE)
    if decoder:
        own = {name.removeprefix("decoder."): each for name, each in decoder.items()}
        assign(vae.decoder, InMemory(own), place=PLACE)
    return vae.eval()


def _config_of_decoder(case: Case):
    from models.diffusion.autoencoder import VaeConfig

    sizes = case.config["vae"]
    return VaeConfig(
        channels=tuple(sizes["block_out_channels"]),
        resnets=sizes["layers_per_block"],
        groups=sizes["norm_num_groups"],
        cells=sizes["latent_channels"],
        quantised=False,
    )


def prompt_of(case: Case, number: int | None = None, prefix: str = "") -> Prompt:
    """Return the recorded prompt of a case, or one of several."""
    tokens = case.inputs[f"{prefix}prompt_embeds"]
    pooled = case.inputs[f"{prefix}pooled_prompt_embeds"]
    part = slice(None) if number is None else slice(number, number + 1)
    return Prompt(tokens=tokens[part], pooled=pooled[part])


def check_transformer(case: Case) -> Iterator[Comparison]:
    """Predict a velocity."""
    transformer = transformer_of(case)
    made = transformer(
        case.inputs["hidden_states"],
        case.inputs["encoder_hidden_states"],
        case.inputs["pooled_projections"],
        case.inputs["timestep"],
        return_dict=False,
    )[0]
    expected = case.outputs["sample_fp32_modulation"]
    yield compare("sample_fp32_modulation", made, expected, FLOAT32)
    yield compare("sample", made, case.outputs["sample"], ROUNDED)


def check_autoencoder(case: Case) -> Iterator[Comparison]:
    """Encode to a posterior and a latent, and decode another one."""
    vae = autoencoder_of(case)
    enhancer = Enhancer(transformer=None, vae=vae)
    image, noise = case.inputs["image"], case.inputs["noise"]
    mean, logvar = enhancer.posterior(image, tile=4096)
    yield compare("mean", mean, case.outputs["mean"], FLOAT32)
    yield compare("logvar", logvar, case.outputs["logvar"], FLOAT32)
    latent = enhancer.encode(image, noise, tile=4096)
    yield compare("latent_scaled_no_shift", latent, case.outputs["latent_scaled_no_shift"], FLOAT32)
    decoded = enhancer.decode(case.inputs["latent_to_decode"], tile=4096)
    yield compare("decoded", decoded, case.outputs["decoded"], FLOAT32)


def check_tiled_decoder(case: Case) -> Iterator[Comparison]:
    """Decode in tiles: without a trace, and as upstream pools."""
    vae, latent = autoencoder_of(case), case.inputs["latent"]
    yield from _check_tiles(case, decoder_steps(vae.decoder), latent, case.config["tile_size"] * 8)


def check_tiled_encoder(case: Case) -> Iterator[Comparison]:
    """Encode in tiles, likewise."""
    vae, image = autoencoder_of(case), case.inputs["image"]
    yield from _check_tiles(case, encoder_steps(vae.encoder), image, case.config["tile_size"])


def _check_tiles(case: Case, steps, picture, tile: int) -> Iterator[Comparison]:
    from models.tiling import vae as seamless

    floor = Floor(device=CPU, rest=CPU, tile=tile, tick=lambda: None)
    yield compare("untiled", seamless.run(steps, picture, floor), case.outputs["untiled"], FLOAT32)
    yield compare("exact", pooled.run(steps, picture, floor), case.outputs["exact"], TILED)
    yield skip("fast", "statistics guessed from a shrunken picture; the product's tiles are exact")
