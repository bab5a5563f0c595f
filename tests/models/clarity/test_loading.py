import re
import socket

import pytest
import torch

from models.checkpoint.manifest import LocalWeights, look
from models.clarity.options import ClarityOptions
from models.clarity.pipeline import ClarityUpscaler
from models.clarity.weights import MANIFEST
from models.diffusion.stable import Files, load_stable_diffusion
from models.errors import WeightsError
from tests.checkpoints import write_tensors
from tests.models.clarity.small import (
    CONTROLNET,
    VAE,
    published,
    small,
    write_base,
    write_base_folder,
    write_clarity,
    write_lora,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clarity(tmp_path_factory.mktemp("clarity"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_: object) -> None:
        message = "loading needs no network"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "socket", refuse)


def load(folder, **paths):
    files = {
        "base": folder / "juggernaut_reborn.safetensors",
        "vae": folder / VAE,
        "controlnet": folder / f"{CONTROLNET}.pth",
    }
    return load_stable_diffusion(Files(**files | paths), device="cpu", dtype=torch.bfloat16)


def state(model) -> dict[str, torch.Tensor]:
    return {
        **model.steered.state_dict(),
        **{f"t.{k}": v for k, v in model.text.state_dict().items()},
    }


def test_one_file_and_a_folder_of_diffusers_are_the_same_model(folder, tmp_path):
    """Only the names differ: the order of a list of random tensors is that of the names."""
    one = load(folder)
    write_base(tmp_path / "base.ckpt")
    pickled = load(folder, base=tmp_path / "base.ckpt")
    inside = write_base_folder(tmp_path / "base")
    other = load(folder, base=inside / "unet" / "diffusion_pytorch_model.safetensors")

    assert state(one).keys() == state(other).keys()
    assert all(
        torch.equal(a, b) for a, b in zip(state(one).values(), state(pickled).values(), strict=True)
    )
    assert {tuple(each.shape) for each in state(one).values()} == {
        tuple(each.shape) for each in state(other).values()
    }


def test_a_controlnet_in_both_layouts_and_files_loads(folder, tmp_path):
    for suffix in ("safetensors", "bin"):
        path = tmp_path / CONTROLNET / f"diffusion_pytorch_model.{suffix}"
        write_tensors(path, small("controlnet_tile.diffusers"))

        assert load(folder, controlnet=path).steered.hint_embedding.conv_in.weight.shape[0] == 16


def test_the_published_names_and_shapes_are_complete():
    """Of the real sizes, on the meta device."""
    from models.checkpoint import ldm
    from models.diffusion.bases import HEADS, Generation, build_base, read_sizes
    from models.diffusion.stable import CONTROLNET as CONTROL
    from models.diffusion.unet import build_controlnet, read_unet_config

    shapes = published("sd15_single_file")
    networks = build_base(read_sizes(shapes, Generation.SD15))
    unet = {name: tuple(each.shape) for name, each in networks["unet"].state_dict().items()}
    text = {name: tuple(each.shape) for name, each in networks["text"].state_dict().items()}
    control = published("controlnet_tile.original_pth")
    with torch.device("meta"):
        network = build_controlnet(read_unet_config(control, CONTROL, heads=HEADS[Generation.SD15]))

    assert unet == published("sd15_unet.diffusers")
    assert {f"text_model.{name}": shape for name, shape in text.items()} == published(
        "sd15_text_encoder.hf_on_disk"
    )
    found = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    assert found == published("controlnet_tile.diffusers")
    assert {ldm.unet(2)(name.removeprefix(CONTROL)) for name in control} == set(found)


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({"conditioner.embedders.0.x": torch.zeros(1)}, "Stable Diffusion XL"),
        ({"cond_stage_model.model.x": torch.zeros(1)}, "Stable Diffusion 2"),
        ({"lora_unet_x.alpha": torch.zeros(1)}, "a LoRA"),
        ({"conv.weight": torch.zeros(1)}, "something else: it holds conv.weight"),
    ],
)
def test_a_base_of_another_kind_is_refused_with_what_it_is(folder, tmp_path, tensors, found):
    path = write_tensors(tmp_path / "base.safetensors", tensors)

    reason = f"{path} is no checkpoint of Stable Diffusion 1.5, but {found}"
    with pytest.raises(WeightsError, match=re.escape(reason)):
        load(folder, base=path)


def test_the_default_files_load_with_their_loras_merged(folder):
    options = ClarityOptions()
    files = look(options.parts(MANIFEST.variant(None)), folder)
    assert set(files) == {part.name for part in MANIFEST.variants[0].parts}

    loaded = ClarityUpscaler.load(
        LocalWeights(variant="sd15", files=files), options=options, device="cpu", dtype="float32"
    )

    name = "mid_block.attentions.0.proj_in.weight"
    merged = loaded.model.steered.unet.get_parameter(name)
    bare = load(folder).steered.unet.get_parameter(name)
    assert (merged - bare).abs().max() > 0.01


def test_a_lora_for_another_kind_of_model_is_refused_by_the_layer(folder, tmp_path):
    path = write_lora(tmp_path / "wide.safetensors")
    tensors = small("kohya_lora_sd15_rank32")
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"
    write_tensors(path, {**tensors, name: torch.zeros(640, 32, 1, 1)})
    options = ClarityOptions(loras={"wide": 1.0}, safety_checker=False)
    files = look(options.parts(MANIFEST.variant(None)), folder) | {"lora wide": path}

    with pytest.raises(WeightsError, match="wide: mid_block_attentions_0_proj_in has the shape"):
        ClarityUpscaler.load(
            LocalWeights(variant="sd15", files=files),
            options=options,
            device="cpu",
            dtype="float32",
        )


def test_options_name_the_files_that_are_needed():
    options = ClarityOptions(
        base="mine", loras={}, offered_loras=("style",), inversions=(), safety_checker=False
    )

    parts = options.parts(MANIFEST.variant(None))

    assert [part.name for part in parts] == ["base", "vae", "controlnet", "lora style"]
    assert parts[0].files[0].name == "mine.safetensors"
    assert options.borrows() == ("enlarger/esrgan",)
