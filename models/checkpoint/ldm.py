"""The tensors' names of CompVis's latent diffusion, in the names that today's libraries use.

Checkpoints of the Stable Diffusion family, old and new, keep the names of the first one. Each map
takes a name without its part's prefix (`model.diffusion_model.` and so on).
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from models.checkpoint.keymaps import Keymap, rename
from models.checkpoint.open import Shape

RESNET = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)
AROUND = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^label_emb\.0\.0\.", "add_embedding.linear_1."),
    (r"^label_emb\.0\.2\.", "add_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1."),
    (r"^middle_block_out\.0\.", "controlnet_mid_block."),
    (r"^input_hint_block\.0\.", "controlnet_cond_embedding.conv_in."),
    (r"^input_hint_block\.14\.", "controlnet_cond_embedding.conv_out."),
)
HINT = re.compile(r"^input_hint_block\.(\d+)\.")
BLOCK = re.compile(r"^(input|output)_blocks\.(\d+)\.(\d+)\.(.*)$")

AUTOENCODER = (
    (r"^(encoder|decoder)\.mid\.block_1\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.mid\.block_2\.", r"\1.mid_block.resnets.1."),
    (r"^(encoder|decoder)\.mid\.attn_1\.", r"\1.mid_block.attentions.0."),
    (r"\.attentions\.0\.norm\.", ".attentions.0.group_norm."),
    (r"\.attentions\.0\.([qkv])\.", r".attentions.0.to_\1."),
    (r"\.attentions\.0\.proj_out\.", ".attentions.0.to_out.0."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
UP = re.compile(r"(?<=^decoder\.up_blocks\.)\d+")

OPEN_CLIP = rename(
    (
        (r"^transformer\.resblocks\.", "blocks.layers."),
        (r"\.attn\.", ".self_attn."),
        (r"\.ln_([12])\.", r".norm\1."),
        (r"\.mlp\.c_fc\.", ".linear1."),
        (r"\.mlp\.c_proj\.", ".linear2."),
    )
)
"""The text tower of OpenCLIP, in the names of `torch.nn.TransformerEncoder`."""


def unet(resnets: int) -> Keymap:
    """Return the map of a UNet's or a ControlNet's names to diffusers'.

    Args:
        resnets: In each level on the way down; on the way up there is one more.
    """
    around, within = rename(AROUND), rename(RESNET)

    def renamed(name: str) -> str:
        name = HINT.sub(_hint_layer, around(name))
        found = BLOCK.match(name)
        if found is None:
            return within(name)
        way, number, part, rest = found.groups()
        # Going down, the first block is the first convolution, and each level ends in a resampling.
        place = int(number) - 1 if way == "input" else int(number)
        level, index = divmod(place, resnets + 1)
        blocks = "down_blocks" if way == "input" else "up_blocks"
        return within(f"{blocks}.{level}.{_part(part, index, rest)}")

    return renamed


def _hint_layer(found: re.Match[str]) -> str:
    """Name a convolution between the first and the last of those that embed a hint of pixels."""
    return f"controlnet_cond_embedding.blocks.{int(found[1]) // 2 - 1}."


def resnets(shapes: Mapping[str, Shape], prefix: str) -> int:
    """Count the residual blocks of each level of a UNet on the way down.

    Raises:
        KeyError: No UNet is under the prefix.
    """
    blocks = f"{prefix}input_blocks."
    numbers = {int(name[len(blocks) :].split(".")[0]) for name in shapes if name.startswith(blocks)}
    if not numbers:
        raise KeyError(blocks)
    levels = 1 + sum(f"{blocks}{number}.0.op.weight" in shapes for number in numbers)
    return len(numbers) // levels - 1


def _part(part: str, index: int, rest: str) -> str:
    """Name what a numbered part of a block is; resamplings are known by what they hold."""
    if rest.startswith("op."):
        return f"downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv."):
        return f"upsamplers.0.{rest}"
    return f"{'resnets' if part == '0' else 'attentions'}.{index}.{rest}"


def autoencoder(levels: int) -> Keymap:
    """Return the map of an autoencoder's names to diffusers'.

    Args:
        levels: Of resolution; the decoder's count from the pixels, and diffusers' from the cells.
    """
    renamed = rename(AUTOENCODER)
    return lambda name: UP.sub(lambda found: str(levels - 1 - int(found[0])), renamed(name))


def published_shape(name: str, shape: Shape) -> Shape:
    """Return a tensor's shape in a checkpoint: an autoencoder's attention is 1x1 convolutions.

    Args:
        name: diffusers' name, in an autoencoder.
        shape: The module's.
    """
    return (*shape, 1, 1) if ".attentions." in name and len(shape) == 2 else shape


def published_shapes(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Shape]:
    """Return the shapes that a checkpoint has of an autoencoder's parameters, by their names."""
    return {name: published_shape(name, tuple(tensor.shape)) for name, tensor in parameters}
