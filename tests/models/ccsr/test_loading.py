"""Published files: their names and shapes, what is read of them, and what is refused."""

import socket
from pathlib import Path

import pytest
import torch

from models.ccsr.loading import assign_published, build, load_restorer
from models.ccsr.options import CcsrOptions
from models.ccsr.pipeline import CcsrUpscaler
from models.ccsr.restorer import Restorer
from models.ccsr.weights import MANIFEST
from models.checkpoint.manifest import LocalWeights, look
from models.checkpoint.open import Checkpoint
from models.errors import WeightsError
from models.tiling import pooled
from tests.checkpoints import write_tensors
from tests.models.ccsr.small import FILE, published, published_shapes, small_tensors

CPU = torch.device("cpu")


def load(path: Path, **options) -> Restorer:
    return load_restorer(path, options=CcsrOptions(**options), device=CPU, dtype=torch.float32)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_: object) -> None:
        message = "loading needs no network"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "socket", refuse)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Values that half precision holds as well."""
    return {name: tensor.half().float() for name, tensor in small_tensors().items()}


@pytest.fixture(scope="module")
def plain(tensors, tmp_path_factory) -> Restorer:
    """What the file in float32 gives."""
    return load(write_tensors(tmp_path_factory.mktemp("plain") / FILE, tensors))


class OnMeta:
    """The published tensors, without their bytes."""

    path = Path("published")

    def __init__(self) -> None:
        self.shapes = published_shapes()
        self.dtypes = dict.fromkeys(self.shapes, torch.float32)

    def read(self, name: str) -> torch.Tensor:
        return torch.empty(self.shapes[name], device="meta")


def test_the_real_networks_have_a_place_for_every_published_tensor():
    checkpoint: Checkpoint = OnMeta()
    modules = build(checkpoint.shapes)

    assign_published(modules, checkpoint, lambda _, tensor: tensor.half())

    sizes = {
        name: sum(each.numel() for each in network.parameters())
        for name, network in modules.items()
    }
    listed = {
        part: sum(torch.Size(shape).numel() for shape in shapes.values())
        for part, shapes in published().items()
    }
    assert sizes["unet"] == listed["unet"]
    assert sizes["controlnet"] == listed["controlnet"]
    assert sizes["vae"] == listed["vae"], "the condition encoder stands in for the first one"
    assert sizes["text"] < listed["text_encoder"], "its last block and projection are not used"
    assert {each.dtype for each in modules.parameters()} == {torch.float16}
    assert modules["unet"].config.attention_head_dim == (5, 10, 20, 20)


@pytest.mark.parametrize("kind", ["fp16.safetensors", "ckpt", "ckpt of parallel training"])
def test_every_published_kind_of_file_loads_the_same(tmp_path, tensors, plain, kind):
    reduced = {name: each.half() for name, each in tensors.items()}
    path = tmp_path / f"real-world_ccsr.{kind.split()[0]}"
    if kind == "fp16.safetensors":
        write_tensors(path, reduced)
    else:
        prefix = "module." if "parallel" in kind else ""
        torch.save({"state_dict": {prefix + name: each for name, each in reduced.items()}}, path)

    found = load(path)

    assert torch.equal(found.prompt, plain.prompt)
    for ours, theirs in zip(networks(found), networks(plain), strict=True):
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def networks(restorer: Restorer) -> list[torch.nn.Module]:
    return [restorer.controlled, restorer.autoencoder.vae]


def test_the_encoder_is_the_condition_encoder_and_the_decoder_the_tuned_one(tensors, plain):
    vae = plain.autoencoder.vae

    assert torch.equal(vae.encoder.conv_in.weight, tensors["cond_encoder.encoder.conv_in.weight"])
    assert torch.equal(
        vae.decoder.conv_in.weight, tensors["first_stage_model.decoder.conv_in.weight"]
    )
    assert not torch.equal(
        vae.encoder.conv_in.weight, tensors["first_stage_model.encoder.conv_in.weight"]
    )


def test_the_empty_prompt_is_what_the_text_encoder_says_of_nothing(tmp_path, tensors, plain):
    unread = {name: each * 2 if "resblocks.2." in name else each for name, each in tensors.items()}

    prompt = load(write_tensors(tmp_path / FILE, unread)).prompt

    assert plain.prompt.shape == (1, 9, 64)
    assert plain.prompt.std() > 0.1
    assert torch.equal(prompt, plain.prompt), "the last block is not read"


def test_convolutions_keep_the_channels_last(plain):
    kernels = [each for module in networks(plain) for each in module.parameters() if each.ndim == 4]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path, tensors):
    spoilt = dict(tensors)
    del spoilt["control_model.zero_convs.3.0.bias"]
    spoilt["model_ema.decay"] = torch.zeros(1)
    spoilt["first_stage_model.decoder.conv_out.bias"] = torch.zeros(4)

    with pytest.raises(WeightsError) as refused:
        load(write_tensors(tmp_path / FILE, spoilt))

    for name in (
        "controlnet.controlnet_down_blocks.3.bias",
        "model_ema.decay",
        "first_stage_model.decoder.conv_out.bias (4,) instead of (3,)",
    ):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    "prefix",
    ["model.diffusion_model.", "control_model.", "cond_encoder.", "cond_stage_model.model."],
)
def test_a_file_without_one_of_the_networks_is_refused_by_its_name(tmp_path, tensors, prefix):
    rest = {name: each for name, each in tensors.items() if not name.startswith(prefix)}

    with pytest.raises(WeightsError, match=f"is under {prefix}"):
        load(write_tensors(tmp_path / FILE, rest))


def test_weights_that_are_no_numbers_are_refused(tmp_path, tensors):
    name = "control_model.input_blocks.0.0.weight"
    spoilt = tensors | {name: tensors[name] * torch.nan}

    with pytest.raises(WeightsError, match=f"{name} holds NaN"):
        load(write_tensors(tmp_path / FILE, spoilt))


@pytest.mark.parametrize("tiled_vae", ["seamless", "upstream"])
def test_the_pipeline_loads_what_the_engine_hands_it(tmp_path, tensors, tiled_vae):
    write_tensors(tmp_path / FILE, tensors)
    files = look(MANIFEST.variant(None).parts, tmp_path)

    upscaler = CcsrUpscaler.load(
        LocalWeights(variant="real-world", files=files),
        options=CcsrOptions(tiled_vae=tiled_vae),
        device="cpu",
        dtype="bfloat16",
    )

    assert upscaler.restorer.prompt.dtype == torch.bfloat16
    assert (upscaler.restorer.autoencoder.decoding is pooled.run) == (tiled_vae == "upstream")
