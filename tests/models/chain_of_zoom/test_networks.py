import gzip
import json
import re
from pathlib import Path

import pytest
import torch

from models.chain_of_zoom.encoder import Merged, read_encoder_config
from models.chain_of_zoom.transformer import (
    TransformerConfig,
    adapted_layers,
    build_transformer,
    merge_adapter,
    read_adapter,
    read_transformer_config,
)
from models.checkpoint.open import open_checkpoint
from models.diffusion.autoencoder import build_vae
from models.errors import WeightsError

DATA = Path(__file__).parents[2] / "data" / "chain_of_zoom"
TINY = TransformerConfig(layers=2, heads=4, head_width=8, text_width=48, pooled_width=24, sides=24)


def published(part: str) -> dict[str, tuple[int, ...]]:
    with gzip.open(DATA / "keys.json.gz") as keys:
        found = json.load(keys)[part]
    return {
        name: tuple(each["shape"] if isinstance(each, dict) else each)
        for name, each in found.items()
    }


def test_names_and_shapes_of_the_published_transformer_are_complete():
    expected = published("transformer (diffusers, SD3-medium)")
    config = read_transformer_config(expected)
    with torch.device("meta"):
        transformer = build_transformer(config)

    found = {name: tuple(each.shape) for name, each in transformer.state_dict().items()}
    assert config == TransformerConfig()
    assert found == expected


def test_the_adapter_s_list_is_in_the_order_of_the_layers():
    shapes = list(published("SR_LoRA/model_20001.pkl").values())
    with torch.device("meta"):
        layers = adapted_layers(build_transformer(TransformerConfig()))

    pairs = list(zip(shapes[::2], shapes[1::2], strict=True))
    assert len(layers) == 47
    assert [(up[0], down[1]) for up, down in pairs] == [tuple(each.weight.shape) for each in layers]


def test_the_published_encoder_is_the_whole_of_ours():
    shapes = published("SR_VAE/vae_encoder_20001.pt")

    class Listed:
        path = Path("list")
        dtypes = dict.fromkeys(shapes, torch.float16)

    Listed.shapes = shapes
    merged = Merged(Listed())
    with torch.device("meta"):
        vae = build_vae(read_encoder_config(merged.shapes, groups=32))

    found = {name: tuple(each.shape) for name, each in vae.encoder.state_dict().items()}
    assert found == merged.shapes
    decoder = {
        name.removeprefix("decoder."): shape
        for name, shape in published("vae (diffusers, SD3-medium)").items()
        if name.startswith("decoder.")
    }
    assert {name: tuple(each.shape) for name, each in vae.decoder.state_dict().items()} == decoder


def test_the_adapter_s_published_format_is_read_and_merged_into_the_weights():
    adapter = read_adapter(DATA / "sr_step_lora.pkl")
    transformer = build_transformer(TINY)
    layer = adapted_layers(transformer)[0]
    before = layer.weight.detach().clone()

    merge_adapter(transformer, adapter)

    assert torch.allclose(layer.weight - before, adapter[0] @ adapter[1], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda adapter: adapter[:-2], "has 4 tensors where 6 are needed"),
        (lambda adapter: adapter[::-1], "the adapter's tensors 0 and 1 are of"),
    ],
)
def test_an_adapter_of_another_order_or_length_is_refused(change, reason):
    adapter = read_adapter(DATA / "sr_step_lora.pkl")

    with pytest.raises(WeightsError, match=re.escape(reason)):
        merge_adapter(build_transformer(TINY), change(adapter))


def test_a_file_that_is_no_list_of_tensors_is_refused(tmp_path):
    torch.save({"0": torch.zeros(1)}, tmp_path / "dict.pkl")
    (tmp_path / "cut.pkl").write_bytes((DATA / "sr_step_lora.pkl").read_bytes()[:-500])

    with pytest.raises(WeightsError, match="holds dict, not a list of tensors"):
        read_adapter(tmp_path / "dict.pkl")
    with pytest.raises(WeightsError, match="is damaged"):
        read_adapter(tmp_path / "cut.pkl")


def test_the_encoder_s_published_format_is_read_with_its_adapter():
    with open_checkpoint(DATA / "sr_step_vae_encoder.pt") as checkpoint:
        merged = Merged(checkpoint)
        weight = merged.read("conv_in.weight")
        base = checkpoint.read("conv_in.base_layer.weight").float()

    assert "conv_in.lora_A.default_encoder.weight" not in merged.shapes
    assert weight.shape == base.shape
    assert (weight - base).abs().max() > 0.01
