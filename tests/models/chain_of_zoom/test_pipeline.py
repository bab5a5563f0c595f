from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.chain_of_zoom import schema
from models.chain_of_zoom.enhancer import WIDE
from models.chain_of_zoom.frames import enlarged, windows
from models.chain_of_zoom.loading import load_enhancer, load_prompts
from models.chain_of_zoom.options import ChainOfZoomOptions, ColorFix
from models.chain_of_zoom.pipeline import ChainOfZoomUpscaler, aligned
from models.chain_of_zoom.schema import ChainOfZoomRequest
from models.chain_of_zoom.strip import GAP, side_by_side
from models.chain_of_zoom.text import PLACES, T5_TOKENS
from models.chain_of_zoom.weights import MANIFEST
from models.checkpoint.manifest import LocalWeights, look
from models.errors import WeightsError
from models.image import Picture
from models.placement import stream_blocks
from models.schema import Size
from tests.models.chain_of_zoom.small import write_chain_of_zoom
from tests.models.contexts import make_context
from tests.pictures import make_picture

(VARIANT,) = MANIFEST.variants


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_chain_of_zoom(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def upscaler(folder) -> ChainOfZoomUpscaler:
    weights = LocalWeights(variant=VARIANT.name, files=look(VARIANT.parts, folder))
    return ChainOfZoomUpscaler.load(
        weights, options=ChainOfZoomOptions(), device="cpu", dtype="float32"
    )


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch) -> None:
    monkeypatch.setattr(schema, "LEAST_SIDE", 64)


def zoom(upscaler, picture, **arguments):
    request = ChainOfZoomRequest(image_url="picture.png", **{"scale": 2, **arguments})
    return upscaler.upscale(picture, request, make_context(seed=99))


def test_each_step_makes_a_picture_and_the_body_says_where_it_led(upscaler):
    result = zoom(upscaler, make_picture(70, 50), scale=3, center_x=0.25, center_y=1.0, seed=5)

    assert [image.shape for image in result.images] == [(50, 70, 3)] * 3
    assert result.body == {"scale": 8.0, "zoom_center": [0.25, 1.0]}
    assert result.seed == 5
    assert not np.array_equal(result.images[1], result.images[2])


def test_a_strip_shows_the_source_and_all_pictures_and_changes_none(upscaler):
    picture = make_picture(70, 50)

    plain, shown = (zoom(upscaler, picture, strip=each) for each in (False, True))

    assert plain.further == {}
    assert all(map(np.array_equal, plain.images, shown.images))
    white = np.full((50, GAP, 3), 255)
    parts = [picture.pixels, white, plain.images[0], white, plain.images[1]]
    assert np.array_equal(shown.further["strip"], np.concatenate(parts, axis=1))


@pytest.mark.parametrize(
    ("size", "count", "made"),
    [((64, 48), 9, (608, 48)), ((3000, 2000), 3, (2312, 512)), ((8000, 100), 9, (16376, 22))],
)
def test_a_strip_is_as_large_as_can_be_looked_at(size, count, made):
    strip = side_by_side([Image.new("RGB", size)] * count)

    assert strip.shape[1::-1] == made


def test_a_missing_seed_follows_from_picture_and_arguments_alone(upscaler):
    picture = make_picture(64, 64)
    first, again = zoom(upscaler, picture), zoom(upscaler, picture, sync_mode=True)
    others = [
        zoom(upscaler, make_picture(64, 63), scale=1),
        zoom(upscaler, picture, center_x=0.4),
    ]

    assert first.seed == again.seed
    assert all(map(np.array_equal, first.images, again.images))
    assert len({first.seed, *(other.seed for other in others)}) == 3


def test_the_prompt_changes_the_picture_and_is_embedded_once(upscaler):
    picture = make_picture(64, 64)
    plain, fox = (
        zoom(upscaler, picture, scale=1, seed=1, user_prompt=each) for each in ("", "fox")
    )
    (spaced,) = upscaler.prompts.embed(["red fox"])

    assert not np.array_equal(plain.images[0], fox.images[0])
    assert upscaler.prompts.embed(["fur", "red fox"])[1] is spaced
    assert spaced.tokens.shape == (1, PLACES + T5_TOKENS, 48)


def test_encoders_whose_blocks_visit_the_device_say_the_same(folder):
    resident, visiting = (
        load_prompts(look(VARIANT.parts, folder), device="cpu", dtype=torch.float32)
        for _ in range(2)
    )
    stream_blocks(visiting._encoders, visiting._encoders.blocks(), torch.device("cpu"))

    # Twice: the first block comes behind the last. Together, each is read as if it were alone.
    for texts in (["red fox"], ["a fox of fur", "fur", "red fox"]):
        for text, found in zip(texts, visiting.embed(texts), strict=True):
            (expected,) = resident.embed([text])
            assert torch.equal(found.tokens, expected.tokens)
            assert torch.equal(found.pooled, expected.pooled)


def test_a_long_prompt_is_cut_off_with_its_end_kept(upscaler):
    ids = upscaler.prompts._tokenize("fox " * 600)

    assert ids.clip_l.shape == ids.clip_g.shape == (1, PLACES)
    assert ids.clip_l[0, [0, -1]].tolist() == [49406, 49407]
    assert ids.t5.shape == (1, T5_TOKENS)
    assert ids.t5[0, -1] == 1


def test_what_is_transparent_is_shown_on_white(upscaler):
    pixels = np.zeros((64, 64, 3), np.uint8)
    hidden = Picture(pixels=pixels, alpha=np.zeros((64, 64), np.uint8))
    white = Picture(pixels=pixels + np.uint8(255))

    first, second = (zoom(upscaler, each, scale=1, seed=1) for each in (hidden, white))

    assert first.opaque
    assert np.array_equal(first.images[0], second.images[0])


def test_a_large_source_is_looked_at_while_it_shows_more_than_the_last_frame():
    source = Image.fromarray(make_picture(256, 256).pixels)
    frame = Image.new("RGB", (64, 64))
    found = list(windows(Size(256, 256), Size(64, 64), (0.5, 0.5), 4))

    blank = [not np.array(enlarged(source, frame, each)).any() for each in found]

    assert [each.view[2] - each.view[0] for each in found] == [128, 64, 32, 16]
    assert blank == [False, False, True, True]


@pytest.mark.parametrize(
    ("divisor", "tiles"),
    [(1, (128, 64, 16)), (2, (64, 64, 16)), (4, (32, 32, 8)), (8, (32, 32, 8))],
)
def test_tiles_of_the_transformer_are_halved_where_the_device_has_no_room(divisor, tiles):
    assert WIDE.divided(divisor) == tiles


def test_a_step_in_halved_tiles_is_another_and_as_large(upscaler, monkeypatch):
    monkeypatch.setattr(schema, "LEAST_SIDE", 320)  # 40 cells: one tile, and then four of 32
    request = ChainOfZoomRequest(image_url="picture.png", scale=1, seed=1)
    calls = []
    hook = upscaler.enhancer.transformer.register_forward_pre_hook(lambda *_: calls.append(1))

    whole, parted = (
        upscaler.upscale(make_picture(64, 64), request, make_context(tile_divisor=divisor)).images
        for divisor in (1, 4)
    )
    hook.remove()

    assert len(calls) == 1 + 4
    assert whole[0].shape == parted[0].shape
    assert not np.array_equal(whole[0], parted[0])


@pytest.mark.parametrize("fix", [ColorFix.WAVELET, ColorFix.ADAIN], ids=str)
def test_a_colour_fix_brings_colours_back(fix):
    seen = make_picture(64, 64).pixels
    made = (seen // 2 + 60).astype(np.uint8)

    fixed = aligned(made, seen, fix)

    assert abs(fixed.mean() - seen.mean()) < 2 < abs(made.mean() - seen.mean())
    assert aligned(made, seen, ColorFix.NONE) is made


def test_bfloat16_ends_near_float32(upscaler, folder):
    files = look(VARIANT.parts, folder)
    half = ChainOfZoomUpscaler(
        enhancer=load_enhancer(files, device="cpu", dtype=torch.bfloat16),
        prompts=load_prompts(files, device="cpu", dtype=torch.bfloat16),
        options=ChainOfZoomOptions(),
    )
    picture = make_picture(64, 64)

    wide, narrow = (zoom(each, picture, scale=1, seed=1).images[0] for each in (upscaler, half))

    assert np.abs(wide.astype(int) - narrow).mean() < 3


def test_a_piece_that_is_missing_or_foreign_is_refused_by_name(folder, tmp_path):
    files = look(VARIANT.parts, folder)
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(WeightsError, match="is missing"):
        load_prompts({**files, "t5 2": files["t5 1"]}, device="cpu", dtype=torch.float32)
    with pytest.raises(WeightsError, match="no text tower of CLIP"):
        load_prompts({**files, "clip l": files["vae"]}, device="cpu", dtype=torch.float32)
    with pytest.raises(WeightsError, match="no tokenizer"):
        load_prompts(
            {**files, "t5 tokenizer": tmp_path / "tokenizer.json"},
            device="cpu",
            dtype=torch.float32,
        )
