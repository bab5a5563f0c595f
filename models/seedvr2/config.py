"""The sizes of the networks, read from a checkpoint's tensors; nothing is guessed from file names.

Sizes of the published files: upstream's `configs_3b/main.yaml` and `configs_7b/main.yaml`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.errors import WeightsError

Shapes = Mapping[str, Sequence[int]]
"""The shape of every tensor of a checkpoint, by name."""


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """The sizes of the autoencoder.

    Attributes:
        channels: Of each level, from the pixels inwards; each further level halves the sides.
        latent_channels: Of the latent; the encoder gives means and log variances of as many.
        encoder_resnets: In each level.
        decoder_resnets: In each level.
        time_levels: How many resamplings, counted from the latent, also resample time in a video.
        groups: Of every group normalisation. The only size that no tensor tells.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    latent_channels: int = 16
    encoder_resnets: int = 2
    decoder_resnets: int = 3
    time_levels: int = 2
    groups: int = 32


class Flavour(StrEnum):
    """The two published architectures of the transformer."""

    B3 = "3b"
    """SwiGLU, rotated text, later blocks shared by pixels and text, a modulated output."""
    B7 = "7b"
    """GELU, text not rotated, no block shared, a plain output."""


@dataclass(frozen=True, kw_only=True)
class DitConfig:
    """The sizes of the transformer.

    Attributes:
        flavour: Which of the two architectures.
        width: Channels of a token.
        heads: Of every attention; each has `head_width` channels.
        head_width: Likewise.
        layers: Blocks.
        separate_layers: How many of the first blocks have weights of their own for text.
        hidden: Channels inside of an MLP.
        text_width: Channels of the text embedding.
        in_channels: Noise, conditioning latent and mask.
        out_channels: Of the latent.
    """

    flavour: Flavour
    width: int
    heads: int
    head_width: int
    layers: int
    separate_layers: int
    hidden: int
    text_width: int = 5120
    in_channels: int = 33
    out_channels: int = 16


DIT_3B = DitConfig(
    flavour=Flavour.B3,
    width=2560,
    heads=20,
    head_width=128,
    layers=32,
    separate_layers=10,
    hidden=6912,
)
DIT_7B = DitConfig(
    flavour=Flavour.B7,
    width=3072,
    heads=24,
    head_width=128,
    layers=36,
    separate_layers=36,
    hidden=12288,
)
VAE = VaeConfig()

PATCH = 2
"""Latent cells along each side of a token."""


def read_vae_config(shapes: Shapes, *, groups: int = VAE.groups) -> VaeConfig:
    """Read the autoencoder's sizes.

    Raises:
        WeightsError: The tensors are not those of a SeedVR2 autoencoder.
    """
    levels = _count(shapes, "encoder.down_blocks")
    try:
        downs = [
            shapes[f"encoder.down_blocks.{level}.downsamplers.0.conv.weight"]
            for level in range(levels - 1)
        ]
        return VaeConfig(
            channels=tuple(
                shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0]
                for level in range(levels)
            ),
            latent_channels=shapes["decoder.conv_in.weight"][1],
            encoder_resnets=_count(shapes, "encoder.down_blocks.0.resnets"),
            decoder_resnets=_count(shapes, "decoder.up_blocks.0.resnets"),
            time_levels=sum(kernel[2] > 1 for kernel in downs),
            groups=groups,
        )
    except (KeyError, IndexError) as error:
        raise _unlike(error, network="autoencoder") from error


def read_dit_config(shapes: Shapes) -> DitConfig:
    """Read the transformer's sizes.

    Raises:
        WeightsError: The tensors are not those of a SeedVR2 transformer.
    """
    gated = any(name.endswith(".proj_in_gate.weight") for name in shapes)
    layers = _count(shapes, "blocks")
    separate = [f"blocks.{layer}.attn.proj_qkv.vid.weight" in shapes for layer in range(layers)]
    stream = "vid" if any(separate[:1]) else "all"
    try:
        head_width = shapes[f"blocks.0.attn.norm_q.{stream}.weight"][0]
        width, patch_channels = shapes["vid_in.proj.weight"]
        return DitConfig(
            flavour=Flavour.B3 if gated else Flavour.B7,
            width=width,
            heads=shapes[f"blocks.0.attn.proj_qkv.{stream}.weight"][0] // 3 // head_width,
            head_width=head_width,
            layers=layers,
            separate_layers=sum(separate),
            hidden=shapes[f"blocks.0.mlp.{stream}.proj_in.weight"][0],
            text_width=shapes["txt_in.weight"][1],
            in_channels=patch_channels // PATCH**2,
            out_channels=shapes["vid_out.proj.weight"][0] // PATCH**2,
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise _unlike(error, network="transformer") from error


def _count(names: Iterable[str], prefix: str) -> int:
    """Count the numbered children of `prefix`."""
    start = f"{prefix}."
    return len({name[len(start) :].split(".")[0] for name in names if name.startswith(start)})


def _unlike(error: Exception, *, network: str) -> WeightsError:
    return WeightsError(f"this is no SeedVR2 {network}: {error} is missing or of another shape")
