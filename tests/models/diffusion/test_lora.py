import re

import pytest
import torch
from torch import nn

from models.diffusion.lora import Adapted, Weighted, read_lora
from models.errors import WeightsError
from tests.checkpoints import write_tensors
from tests.models.clarity.small import published, small


class Names(nn.Module):
    """A weight of 4 x 4 under each given path."""

    def __init__(self, *paths: str, kernel: tuple[int, ...] = ()) -> None:
        super().__init__()
        for path in paths:
            module: nn.Module = self
            for part in path.split("."):
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter("weight", nn.Parameter(torch.ones(4, 4, *kernel)))


def lora_file(folder, layer: str, **parts: torch.Tensor):
    tensors = {
        "lora_down.weight": torch.full((2, 4), 0.5),
        "lora_up.weight": torch.full((4, 2), 0.5),
        **{name.replace("__", "."): tensor for name, tensor in parts.items()},
    }
    path = folder / "style.safetensors"
    return write_tensors(path, {f"{layer}.{name}": each for name, each in tensors.items()})


def merged(path, network: Names, module: str, *, weight: float = 1.0) -> torch.Tensor:
    adapted = Adapted({"unet": network})
    with adapted.also([Weighted(lora=read_lora(path), unet=weight, text=weight)]):
        return network.get_parameter(f"{module}.weight").detach().clone()


@pytest.mark.parametrize(
    ("old", "modern"),
    [
        ("input_blocks_1_1_proj_in", "down_blocks.0.attentions.0.proj_in"),
        (
            "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        ),
        ("input_blocks_2_0_in_layers_2", "down_blocks.0.resnets.1.conv1"),
        ("input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
        ("middle_block_1_proj_out", "mid_block.attentions.0.proj_out"),
        ("middle_block_0_emb_layers_1", "mid_block.resnets.0.time_emb_proj"),
        ("output_blocks_5_2_conv", "up_blocks.1.upsamplers.0.conv"),
        ("output_blocks_9_0_skip_connection", "up_blocks.3.resnets.0.conv_shortcut"),
    ],
)
def test_names_of_the_first_checkpoints_mean_the_same_layers(tmp_path, old, modern):
    path = lora_file(tmp_path, f"lora_unet_{old}")

    assert torch.allclose(merged(path, Names(modern), modern), torch.full((4, 4), 1.5))


@pytest.mark.parametrize(
    ("parts", "added"),
    [
        ({}, 0.5),
        ({"alpha": torch.tensor(1.0)}, 0.25),
        ({"scale": torch.tensor(3.0), "alpha": torch.tensor(1.0)}, 1.5),
    ],
)
def test_the_factor_is_alpha_by_rank_or_what_the_file_says(tmp_path, parts, added):
    path = lora_file(tmp_path, "lora_unet_mid", **parts)

    assert torch.allclose(merged(path, Names("mid"), "mid"), torch.full((4, 4), 1 + added))


def test_a_decomposed_convolution_is_put_together(tmp_path):
    middle = torch.randn(2, 2, 3, 3)
    down, up = torch.randn(2, 4, 1, 1), torch.randn(4, 2, 1, 1)
    path = lora_file(
        tmp_path,
        "lora_unet_conv",
        lora_mid__weight=middle,
        lora_down__weight=down,
        lora_up__weight=up,
    )

    made = merged(path, Names("conv", kernel=(3, 3)), "conv")

    # Both outer matrices act at every place of the kernel by themselves.
    expected = torch.stack(
        [
            torch.stack([up[..., 0, 0] @ middle[..., y, x] @ down[..., 0, 0] for x in range(3)], -1)
            for y in range(3)
        ],
        -2,
    )
    assert torch.allclose(made - 1, expected, atol=1e-5)


def test_the_published_layers_are_all_in_the_model():
    names = {name.partition(".")[0] for name in published("kohya_lora_sd15_rank32")}
    unet = {name.rpartition(".")[0].replace(".", "_") for name in published("sd15_unet.diffusers")}
    text = {
        name.removeprefix("text_model.").rpartition(".")[0].replace(".", "_")
        for name in published("sd15_text_encoder.hf_on_disk")
    }

    assert len(names) == 264
    assert {each.removeprefix("lora_unet_") for each in names if "_unet_" in each} <= unet
    assert {each.removeprefix("lora_te_text_model_") for each in names if "_te_" in each} <= text


def test_what_is_no_lora_is_refused_by_what_it_holds(tmp_path):
    path = lora_file(tmp_path, "lora_unet_mid", hada_w1_a=torch.ones(4, 2))

    with pytest.raises(WeightsError, match=r"style is no LoRA that is known here: it holds .*hada"):
        read_lora(path)


def test_half_a_layer_is_refused_by_name(tmp_path):
    tensors = {"lora_unet_mid.lora_up.weight": torch.ones(4, 2)}
    path = write_tensors(tmp_path / "half.safetensors", tensors)

    with pytest.raises(
        WeightsError, match=re.escape("half: lora_unet_mid has only lora_up.weight")
    ):
        read_lora(path)


def test_a_layer_that_the_model_has_not_is_named_and_nothing_is_changed(tmp_path):
    path = lora_file(tmp_path, "lora_unet_elsewhere")
    network = Names("mid")
    adapted = Adapted({"unet": network})
    lora = Weighted(lora=read_lora(path), unet=1.0, text=1.0)

    with (
        pytest.raises(WeightsError, match="style: no layer elsewhere is in the unet"),
        adapted.also([lora]),
    ):
        pass

    assert torch.equal(network.get_parameter("mid.weight"), torch.ones(4, 4))


def test_a_file_of_the_published_layout_is_read_whole(tmp_path):
    path = write_tensors(tmp_path / "all.safetensors", small("kohya_lora_sd15_rank32"))

    lora = read_lora(path)

    assert set(lora.deltas) == {"unet", "text"}
    assert len(lora.deltas["unet"]) == 192
