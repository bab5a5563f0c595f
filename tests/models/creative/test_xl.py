"""Stable Diffusion XL beside the libraries that its own pipeline is of."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from PIL import Image

from models.checkpoint.manifest import LocalWeights, look
from models.checkpoint.strict import onto
from models.creative.options import CreativeOptions
from models.creative.pipeline import CreativeUpscaler, _sizes
from models.creative.schema import CreativeRequest
from models.creative.weights import MANIFEST
from models.diffusion import bpe
from models.diffusion.bases import TEXT, UNET, Base, Generation, load_base
from models.diffusion.enlarging import Enlarger
from models.errors import WeightsError
from models.schema import Size
from tests.checkpoints import write_tensors
from tests.models.contexts import make_context
from tests.models.creative import naive
from tests.models.creative.small import (
    open_clip_tensors,
    towers,
    unet,
    unet_tensors,
    write_xl,
    write_xl_folder,
)
from tests.pictures import make_picture

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_xl(tmp_path_factory.mktemp("xl"))


def load(folder, dtype="float32", **options) -> CreativeUpscaler:
    chosen = CreativeOptions(
        **{
            "sdxl_controlnet": "tile_xl",
            "sdxl_tile": 32,
            "safety_checker": False,
            "captioner": "none",
            "enlarger": Enlarger.LANCZOS,
        }
        | options
    )
    files = look(chosen.parts(MANIFEST.variant("SDXL")), folder)
    weights = LocalWeights(variant="SDXL", files=files)
    return CreativeUpscaler.load(weights, options=chosen, device="cpu", dtype=dtype)


@pytest.fixture(scope="module")
def upscaler(folder) -> CreativeUpscaler:
    return load(folder)


def quick(**arguments) -> CreativeRequest:
    chosen = {"model_type": "SDXL", "num_inference_steps": 2, "skip_ccsr": True, "prompt": "owl"}
    return CreativeRequest(image_url="x", **chosen | arguments)


def test_the_small_weights_have_the_original_names():
    converted = convert_ldm_unet_checkpoint(unet_tensors(), {**unet().config})
    with gzip.open(DATA / "ccsr" / "keys.json.gz") as keys:
        published = list(json.load(keys)["text_encoder"])

    def kinds(names, prefix: str) -> set[str]:
        found = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return {re.sub(r"\d+", "N", name) for name in found}

    assert converted.keys() == unet().state_dict().keys()
    assert all(torch.equal(each, converted[name]) for name, each in unet().state_dict().items())
    assert kinds(open_clip_tensors(towers().wide), "") == kinds(
        published, "cond_stage_model.model."
    )


def reference_conditions(prompt: str):
    """Return what diffusers' own pipeline makes of a prompt."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    merges = gzip.decompress((Path(bpe.__file__).parent / "clip_merges.txt.gz").read_bytes())
    pairs = [tuple(line.split(" ")) for line in merges.decode().splitlines()]
    symbols = bpe._alphabet()
    words = [*symbols, *(each + "</w>" for each in symbols), *map("".join, pairs), *bpe.SPECIAL]
    vocab = {word: number for number, word in enumerate(words)}
    narrow, wide = (
        CLIPTokenizer(vocab=vocab, merges=pairs, pad_token=pad, model_max_length=77)
        for pad in ("<|endoftext|>", "!")
    )
    pipeline = StableDiffusionXLPipeline(
        vae=None,
        text_encoder=towers().narrow,
        text_encoder_2=towers().wide,
        tokenizer=narrow,
        tokenizer_2=wide,
        unet=unet(),
        scheduler=None,
        add_watermarker=False,
    )
    tokens, _, pooled, _ = pipeline.encode_prompt(
        prompt, device="cpu", do_classifier_free_guidance=False
    )
    ids = pipeline._get_add_time_ids(
        (48, 64), (0, 0), (48, 64), torch.float32, text_encoder_projection_dim=96
    )
    return tokens, pooled, ids


@pytest.mark.parametrize("prompt", ["a photo of an owl, on a branch", ""])
@torch.inference_mode()
def test_conditions_are_those_of_diffusers_own_pipeline(upscaler, prompt):
    tokens, pooled, ids = reference_conditions(prompt)

    made = upscaler.texts.condition(prompt, field="prompt")

    assert made.tokens.shape == (1, 77, 192)
    torch.testing.assert_close(made.tokens, tokens, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.pooled, pooled, rtol=1e-4, atol=1e-4)
    assert torch.equal(_sizes(Size(64, 48)), ids)


def test_a_whole_pass_is_that_of_the_plain_reference(upscaler):
    """Two tiles in a row, gaussian weights, XL's own scale of latents."""
    picture = make_picture(141, 32)
    request = quick(prompt_suffix="", scale=2.0, shape_preservation=1.0)

    made = upscaler.upscale(picture, request, make_context(seed=5)).images[0]

    start = np.asarray(Image.fromarray(picture.pixels).resize((282, 64), Image.Resampling.LANCZOS))
    worked = np.pad(start, ((0, 0), (0, 6), (0, 0)), mode="edge")
    with torch.inference_mode():
        conditions = [
            upscaler.texts.condition(text, field="x")
            for text in (request.prompt, request.negative_prompt)
        ]
        expected = naive.diffuse(upscaler, worked, request, conditions, 5, scaling=0.13025)
    difference = np.abs(made.astype(int) - expected[:, :282])
    assert made.std() > 5
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_a_lora_of_xl_changes_all_networks_that_it_names(folder):
    chosen = load(folder, sdxl_detail_lora="detail_xl")
    picture = make_picture(24, 24)

    plain, detailed = (
        chosen.upscale(picture, quick(detail=detail), make_context()).images[0]
        for detail in (0.0, 1.0)
    )

    names = {key for key, _ in chosen.adapted._pristine}
    assert names == {"unet", "text", "text_2"}
    assert not np.array_equal(plain, detailed)


def test_without_a_controlnet_the_record_says_what_is_ignored(folder):
    bare = load(folder, sdxl_controlnet=None)

    result, off = (
        bare.upscale(make_picture(16, 16), quick(**arguments), make_context())
        for arguments in ({"scale": 1.0}, {"scale": 1.0, "shape_preservation": 0.0})
    )

    assert result.notes == {
        "shape_preservation": "ignored: no ControlNet for this model is installed"
    }
    assert off.notes == {}
    assert np.array_equal(result.images[0], off.images[0])


def load_folder(folder: Path) -> Base:
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    return load_base(unet, Generation.SDXL, onto("cpu", torch.float32))


def test_a_base_in_folders_is_the_same_as_in_one_file(folder, tmp_path):
    single = load_base(
        folder / "sd_xl_base_1.0.safetensors", Generation.SDXL, onto("cpu", torch.float32)
    )

    apart = load_folder(write_xl_folder(tmp_path / "mine"))

    assert apart.sizes == single.sizes
    for part in ("unet", "text", "text_2", "projection"):
        one, other = (getattr(base, part).state_dict() for base in (single, apart))
        assert one.keys() == other.keys()
        assert all(torch.equal(each, other[name]) for name, each in one.items()), part
    found = look(CreativeOptions(sdxl_base="mine").parts(MANIFEST.variant("SDXL"))[:1], tmp_path)
    assert found["base"].parts[-3:-1] == ("mine", "unet")


def test_folders_that_are_not_of_one_model_are_refused(tmp_path):
    folder = write_xl_folder(tmp_path)
    (folder / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"text_encoder_2 lacks model\.safetensors or"):
        load_folder(folder)

    write_tensors(folder / "text_encoder_2" / "model.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"no Stable Diffusion XL: .* is missing"):
        load_folder(folder)

    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(WeightsError, match="192 of a prompt, not 4 and 64"):
        load_base(unet, Generation.SD15, onto("cpu", torch.float32))


def test_a_base_of_1_5_is_refused_by_name(tmp_path):
    tensors = {
        f"{UNET}input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3),
        f"{TEXT}final_layer_norm.weight": torch.zeros(768),
    }
    path = write_tensors(tmp_path / "base.safetensors", tensors)

    with pytest.raises(WeightsError, match="no checkpoint of Stable Diffusion XL, but Stable Di"):
        load_base(path, Generation.SDXL, onto("cpu", torch.float32))
