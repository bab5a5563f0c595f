from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from models.checkpoint.manifest import LocalWeights, look
from models.clarity.options import ClarityOptions, Sampler
from models.clarity.pipeline import ClarityUpscaler
from models.clarity.schema import ClarityRequest
from models.clarity.weights import MANIFEST
from models.diffusion.enlarging import Enlarger
from models.errors import ArgumentInvalid, NotFinite
from models.schema import Size
from models.upscaler import Work
from tests.models.clarity import naive
from tests.models.clarity.small import write_clarity, write_lora
from tests.models.contexts import load_upscaler, make_context
from tests.pictures import make_picture

SMALL_TILES = {"tile_width": 16, "tile_height": 24, "tile_batch": 3, "vae_tile": 128}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_clarity(tmp_path_factory.mktemp("clarity"))
    write_lora(folder / "style.safetensors", seed=9)
    return folder


@pytest.fixture(scope="module")
def upscaler(folder) -> ClarityUpscaler:
    options = ClarityOptions(enlarger=Enlarger.LANCZOS, offered_loras=("style",), **SMALL_TILES)
    return load(folder, options)


def load(folder, options: ClarityOptions, dtype: str = "float32") -> ClarityUpscaler:
    files = look(options.parts(MANIFEST.variant(None)), folder)
    weights = LocalWeights(variant="sd15", files=files)
    return ClarityUpscaler.load(weights, options=options, device="cpu", dtype=dtype)


def quick(**arguments) -> ClarityRequest:
    return ClarityRequest(image_url="x", **{"num_inference_steps": 8} | arguments)


def test_a_whole_enlargement_is_that_of_the_plain_reference(upscaler):
    picture = make_picture(101, 140)
    request = quick(creativity=0.5, prompt="an (owl:1.3)", negative_prompt="bad [worse]" * 30)
    tile_count = len(upscaler.mosaic(35, 25).boxes)
    unsuffixed = replace(upscaler, options=upscaler.options.model_copy(update={}))

    made = unsuffixed.upscale(picture, request, make_context(seed=5)).images[0]

    with torch.inference_mode():
        expected = naive.enlarge(unsuffixed, picture.pixels, request, 5, start=picture.pixels)
    assert tile_count == 4
    assert made.shape == expected.shape == (280, 200, 3)
    assert made.std() > 5
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_passes_beyond_two_begin_with_what_the_last_one_made(upscaler):
    picture = make_picture(33, 24)
    request = quick(upscale_factor=3.0)

    made = upscaler.upscale(picture, request, make_context(seed=3)).images[0]

    first = upscaler.upscale(picture, quick(upscale_factor=2.0), make_context(seed=3)).images[0]
    second = upscaler.upscale(
        replace(picture, pixels=first, alpha=None),
        quick(upscale_factor=1.5, creativity=0.35 * 0.8),
        make_context(seed=4),
    ).images[0]
    assert np.array_equal(made, second)


def test_the_same_seed_gives_the_same_bytes_after_another_job_s_lora(upscaler):
    picture, request = make_picture(40, 30), quick()

    before = upscaler.upscale(picture, request, make_context(seed=1)).images[0]
    styled = upscaler.upscale(
        picture, quick(prompt=f"{request.prompt}<lora:style:0.8>"), make_context(seed=1)
    ).images[0]
    after = upscaler.upscale(picture, request, make_context(seed=1)).images[0]
    other = upscaler.upscale(picture, request, make_context(seed=2)).images[0]

    assert np.array_equal(before, after)
    assert not np.array_equal(before, styled)
    assert not np.array_equal(before, other)


def test_a_lora_that_is_not_offered_is_ignored(upscaler):
    picture = make_picture(24, 24)

    plain = upscaler.upscale(picture, quick(prompt="owl"), make_context()).images[0]
    asked = upscaler.upscale(picture, quick(prompt="owl<lora:evil:9>"), make_context()).images[0]

    assert np.array_equal(plain, asked)


def test_a_lora_is_taken_off_when_a_job_fails(upscaler):
    picture = make_picture(24, 24)
    before = upscaler.upscale(picture, quick(), make_context()).images[0]

    with pytest.raises(ArgumentInvalid):
        upscaler.upscale(picture, quick(prompt="<lora:style:1>" + "owl " * 1600), make_context())

    assert np.array_equal(upscaler.upscale(picture, quick(), make_context()).images[0], before)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_a_prompt_of_too_many_chunks_names_its_field(upscaler, name):
    with pytest.raises(ArgumentInvalid, match=rf"^{name}: its 21 chunks") as caught:
        upscaler.upscale(make_picture(16, 16), quick(**{name: "owl " * 1501}), make_context())

    assert caught.value.field == name


def test_a_flagged_picture_is_black_and_says_so(upscaler):
    picture = make_picture(24, 24)
    fine = upscaler.upscale(picture, quick(), make_context())
    strict = {"concept_embeds_weights": torch.full((17,), -2.0)}
    checker = upscaler.safety
    kept = checker.concept_embeds_weights.clone()
    with torch.no_grad():
        checker.concept_embeds_weights.copy_(strict["concept_embeds_weights"])

    flagged = upscaler.upscale(picture, quick(), make_context())
    unchecked = upscaler.upscale(picture, quick(enable_safety_checker=False), make_context())

    with torch.no_grad():
        checker.concept_embeds_weights.copy_(kept)
    assert (fine.flagged, flagged.flagged, unchecked.flagged) == (False, True, False)
    assert not flagged.images[0].any()
    assert np.array_equal(unchecked.images[0], fine.images[0])


def test_networks_that_make_nan_are_an_error_and_no_black_picture(folder):
    broken = load(folder, ClarityOptions(enlarger=Enlarger.LANCZOS, **SMALL_TILES))
    with torch.no_grad():
        broken.model.steered.unet.conv_out.bias.fill_(float("nan"))

    with pytest.raises(NotFinite):
        broken.upscale(make_picture(24, 24), quick(), make_context())


def test_seconds_are_told_for_each_stage(upscaler):
    result = upscaler.upscale(make_picture(24, 24), quick(), make_context())

    assert set(result.body["timings"]) == {
        "enlarging",
        "encoding",
        "denoising",
        "decoding",
        "checking",
    }


def test_the_chosen_endpoint_enlarges_before_diffusion(folder):
    """And only that: nothing stands in for it."""
    lent: list[str] = []
    compact = load_upscaler("enlarger/compact", folder)

    def borrow(endpoint: str, work: Work):
        lent.append(endpoint)
        return compact.upscale(*work)

    options = ClarityOptions(enlarger=Enlarger.COMPACT, **SMALL_TILES)
    picture, request = make_picture(32, 24), quick(creativity=0.0)
    chosen = load(folder, options)

    made = chosen.upscale(picture, request, make_context(borrow=borrow)).images[0]

    soft = load(folder, ClarityOptions(enlarger=Enlarger.LANCZOS, **SMALL_TILES))
    assert lent == ["enlarger/compact"]
    assert not np.array_equal(made, soft.upscale(picture, request, make_context()).images[0])


def test_without_an_enlargement_nothing_is_borrowed(folder):
    chosen = load(folder, ClarityOptions(**SMALL_TILES))

    result = chosen.upscale(make_picture(37, 29), quick(upscale_factor=1.0), make_context())

    assert result.images[0].shape == (24, 32, 3)


@pytest.mark.parametrize("resemblance", [0.0, 1.0])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.0])
def test_the_ends_of_the_ranges_work(upscaler, resemblance, guidance_scale):
    request = quick(resemblance=resemblance, guidance_scale=guidance_scale, creativity=1.0)

    made = upscaler.upscale(make_picture(16, 16), request, make_context()).images[0]

    assert made.std() > 0


def test_bfloat16_stays_near_float32(folder, upscaler):
    narrow = load(folder, upscaler.options, dtype="bfloat16")
    picture = make_picture(40, 32)

    wide = upscaler.upscale(picture, quick(), make_context()).images[0].astype(int)
    made = narrow.upscale(picture, quick(), make_context()).images[0]

    assert np.abs(made - wide).mean() < 6


def test_another_sampler_can_be_chosen(folder, upscaler):
    options = upscaler.options.model_copy(update={"sampler": Sampler.DPMPP_2M})
    other = replace(upscaler, options=options)
    picture = make_picture(24, 24)

    first, second = (
        each.upscale(picture, quick(), make_context()).images[0] for each in (upscaler, other)
    )

    assert not np.array_equal(first, second)


def test_progress_never_falls_over_several_passes(upscaler):
    seen: list[float] = []
    context = make_context(progress=lambda done, stage: seen.append(done))

    upscaler.upscale(make_picture(17, 17), quick(upscale_factor=4.0), context)

    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"upscale_factor": 0.9},
        {"upscale_factor": 4.1},
        {"creativity": 1.1},
        {"resemblance": -0.1},
        {"guidance_scale": 21},
        {"num_inference_steps": 3},
        {"num_inference_steps": 51},
        {"seed": 2**32},
        {"seed": -1},
    ],
)
def test_what_is_out_of_range_is_refused(arguments):
    with pytest.raises(ValidationError, match=next(iter(arguments))):
        ClarityRequest(image_url="x", **arguments)


@pytest.mark.parametrize(
    ("size", "factor", "promised"),
    [((513, 769), 2.0, (1024, 1536)), ((1, 1), 1.0, (8, 8)), ((100, 60), 3.0, (296, 176))],
)
def test_sides_are_rounded_down_to_multiples_of_8(size, factor, promised):
    request = ClarityRequest(image_url="x", upscale_factor=factor)

    assert request.output_size(Size(*size)) == promised


def test_a_picture_of_one_pixel_becomes_one_of_eight(upscaler):
    made = upscaler.upscale(make_picture(1, 1), quick(), make_context()).images[0]

    assert Image.fromarray(made).size == (8, 8)
