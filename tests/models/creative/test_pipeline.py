from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import nn
from torch._inductor import config as inductor

from models.creative.options import CreativeOptions
from models.creative.pipeline import CreativeUpscaler, _shapes
from models.creative.weights import MANIFEST
from models.diffusion.clip import ClipText
from models.diffusion.compiled import Shapes
from models.diffusion.safety import SafetyChecker
from models.diffusion.unet import Steered
from models.errors import ArgumentInvalid, CompilerMissing
from models.upscaler import Result, Work
from tests.models.ccsr.quick import QuickCcsr
from tests.models.contexts import load_upscaler, make_context
from tests.models.creative import naive
from tests.models.creative.small import load, quick
from tests.pictures import make_picture


def make(upscaler, size=(24, 24), *, seed=1, **arguments) -> np.ndarray:
    return upscaler.upscale(
        make_picture(*size), quick(**arguments), make_context(seed=seed)
    ).images[0]


def test_a_whole_pass_is_that_of_the_plain_reference(upscaler):
    picture = make_picture(140, 20)
    request = quick(
        scale=2.0,
        shape_preservation=1.0,
        detail=0.0,
        prompt_suffix=" (sharp:1.3)",
        num_inference_steps=4,
    )

    made = upscaler.upscale(picture, request, make_context(seed=5)).images[0]

    start = np.asarray(Image.fromarray(picture.pixels).resize((280, 40), Image.Resampling.LANCZOS))
    with torch.inference_mode():
        conditions = [
            upscaler.texts.condition(text, field="x")
            for text in ("owl (sharp:1.3)", request.negative_prompt)
        ]
        expected = naive.diffuse(upscaler, start, request, conditions, 5, scaling=0.18215)
    difference = np.abs(made.astype(int) - expected)
    assert len(upscaler.mosaic(5, 35).boxes) == 2
    assert made.std() > 5
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(
    ("neutral", "moving"),
    [
        ({"detail": 0.0}, {"detail": 2.0}),
        ({"shape_preservation": 0.0}, {"shape_preservation": 1.0}),
        ({"guidance_scale": 1.0, "negative_prompt": "x"}, {"guidance_scale": 3.0}),
        ({"prompt_suffix": ""}, {"prompt_suffix": " sharp"}),
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_neutral_value_is_as_if_the_parameter_were_absent(upscaler, neutral, moving):
    """What it drives is taken out of the pipeline itself, and nothing changes."""
    name = next(iter(neutral))
    without = {
        "detail": lambda: (replace(upscaler, detail=None), {"detail": 1.0}),
        "shape_preservation": lambda: (_unsteered(upscaler), {"shape_preservation": 3.0}),
        "guidance_scale": lambda: (upscaler, {"guidance_scale": 0.0, "negative_prompt": "y z"}),
        "prompt_suffix": lambda: (upscaler, {"prompt": "o", "prompt_suffix": "wl"}),
    }[name]
    bare, arguments = without()

    made, absent = make(upscaler, **neutral), make(bare, **{**neutral, **arguments})
    moved = make(upscaler, **{**neutral, **moving})

    assert np.array_equal(made, absent)
    assert not np.array_equal(made, moved)


def _unsteered(upscaler: CreativeUpscaler) -> CreativeUpscaler:
    steered = upscaler.model.steered
    bare = type(steered)(steered.unet, None).eval()
    return replace(upscaler, model=replace(upscaler.model, steered=bare))


def test_detail_multiplies_the_noise_where_no_lora_is_installed(undetailed):
    plain, rough, most = (make(undetailed, detail=detail) for detail in (1.0, 2.0, 5.0))

    assert not np.array_equal(plain, rough)
    assert not np.array_equal(rough, most)


def test_no_creativity_is_one_call_near_the_prepared_picture(undetailed):
    picture = make_picture(24, 24)
    calls: list[float] = []
    context = make_context(
        progress=lambda done, stage: calls.append(done) if stage == "denoising" else None
    )

    made = undetailed.upscale(picture, quick(creativity=0.0, guidance_scale=1.0), context)

    vae = undetailed.model
    start = np.asarray(Image.fromarray(picture.pixels).resize((48, 48), Image.Resampling.LANCZOS))
    with torch.inference_mode():
        through = vae.decode(vae.encode(start, tile=1024), tile=1024)
    far = make(undetailed, creativity=1.0, guidance_scale=1.0)
    assert len(calls) == 1
    nearness = [np.abs(each.astype(int) - through).mean() for each in (made.images[0], far)]
    assert nearness[0] < nearness[1]


def test_the_seed_decides_and_detail_leaves_no_trace(upscaler):
    first = make(upscaler, seed=1)
    other = make(upscaler, seed=2)
    make(upscaler, detail=5.0)

    assert np.array_equal(make(upscaler, seed=1), first)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_ccsr_is_lent_the_picture_at_its_final_size_and_the_same_seed(undetailed, scale):
    lent: list[tuple] = []

    def borrow(endpoint: str, work: Work) -> Result:
        picture, asked, context = work
        lent.append((endpoint, (picture.width, picture.height), asked.scale, context.seed))
        return Result(images=(255 - picture.pixels,), seed=0)

    request = quick(skip_ccsr=False, scale=scale, creativity=0.0)
    made = undetailed.upscale(make_picture(17, 21), request, make_context(seed=9, borrow=borrow))

    height, width = int(21 * scale), int(17 * scale)
    assert lent == [("fal-ai/ccsr", (width, height), 1.0, 9)]
    assert made.images[0].shape == (height, width, 3)


def test_the_real_ccsr_restores_before(undetailed, tmp_path):
    ccsr = QuickCcsr(load_upscaler("fal-ai/ccsr", tmp_path / "ccsr"))
    request = quick(skip_ccsr=False, scale=1.0, creativity=0.0)
    small = request.model_copy(update={"num_inference_steps": 1})

    seen: list[tuple[float, str]] = []
    context = make_context(
        borrow=lambda _, work: ccsr.upscale(*work),
        progress=lambda done, stage: seen.append((done, stage)),
    )

    made = undetailed.upscale(make_picture(64, 64), small, context).images[0]

    skipped = make(undetailed, (64, 64), scale=1.0, creativity=0.0, num_inference_steps=1)
    assert made.shape == skipped.shape
    assert not np.array_equal(made, skipped)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert "restoring" in {stage for _, stage in seen}


def test_without_ccsr_requests_must_skip_it(folder):
    bare = load(folder, ccsr=False, safety_checker=False)

    assert bare.options.borrows() == ("enlarger/lanczos",)
    with pytest.raises(ArgumentInvalid, match=r"^skip_ccsr: .*set skip_ccsr to true"):
        make(bare, skip_ccsr=False)


def test_nothing_but_the_captioner_stays_on_the_device(folder):
    """ "meta" stands for another device: what is taken there has no numbers any more."""
    moved = load(folder)
    networks = list(_networks(moved))

    with torch.inference_mode():
        moved.move("meta")

    parameters = [each for network in networks for each in network.parameters()]
    assert {type(each) for each in networks} >= {Steered, ClipText, AutoencoderKL, SafetyChecker}
    assert {each.device.type for each in parameters} == {"meta"}
    assert not any(each.is_inference() for each in parameters), "LoRAs can be merged into them"


def _networks(part: object) -> Iterator[nn.Module]:
    """Yield all networks that a dataclass holds, and those that its parts hold."""
    if isinstance(part, nn.Module):
        yield part
    elif is_dataclass(part):
        for each in fields(part):
            yield from _networks(getattr(part, each.name))


def test_a_flagged_picture_is_black_and_says_so(upscaler):
    checker = upscaler.safety
    kept = checker.concept_embeds_weights.clone()
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(-2.0)
    try:
        flagged, unchecked = (
            upscaler.upscale(
                make_picture(16, 16), quick(enable_safety_checks=checked), make_context()
            )
            for checked in (True, False)
        )
    finally:
        with torch.no_grad():
            checker.concept_embeds_weights.copy_(kept)

    assert (flagged.flagged, unchecked.flagged) == (True, False)
    assert not flagged.images[0].any()
    assert unchecked.images[0].any()


def test_bfloat16_stays_near_float32(folder, undetailed):
    narrow = load(folder, "bfloat16", detail_lora=None, safety_checker=False)

    wide, made = (make(each).astype(int) for each in (undetailed, narrow))

    assert np.abs(made - wide).mean() < 6


def test_compiled_networks_are_for_full_tiles_and_need_a_compiler(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    none = inductor.patch({"cpp.cxx": ("no-such-compiler",)})

    with none, pytest.raises(CompilerMissing):
        load(folder, compiled=True)

    shapes = [_shapes(CreativeOptions(), variant) for variant in ("SD_1_5", "SDXL")]
    assert shapes == [Shapes(height=side, width=side, batch=8) for side in (96, 128)]
    assert [each.count for each in shapes] == [72, 128]


def test_options_name_the_files_that_are_needed():
    options = CreativeOptions(
        sdxl_base="mine",
        sdxl_detail_lora="fine",
        sdxl_controlnet="steer",
        detail_lora=None,
        captioner="blip",
    )

    sd15, xl = (
        [part.name for part in options.parts(MANIFEST.variant(name))] for name in (None, "SDXL")
    )

    said = ["blip config.json", "blip tokenizer.json", "blip model.safetensors"]
    assert sd15 == ["base", "vae", "controlnet", "safety", *said]
    assert xl == ["base", "vae", "controlnet", "lora fine", "safety", *said]
    assert options.borrows() == ("fal-ai/ccsr", "enlarger/esrgan")
