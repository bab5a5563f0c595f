"""Captions, by small networks of the library's own."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from models.creative.captions import Captioner, as_prompt, load_captioner
from models.creative.options import Captioner as Kind
from models.creative.weights import CONFIG, TOKENIZER
from models.diffusion.prompts import BREAK, fragments, take_tags
from models.errors import Cancelled, WeightsError
from tests.models.contexts import make_context
from tests.models.creative.small import quick
from tests.pictures import make_picture

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
START, END, PICTURE = 60, 61, 63
WORDS = [f"w{number}" for number in range(START)]


@given(st.text(alphabet="ab .,:()[]\\<>/l1BREAK", max_size=40), st.sampled_from(["", " (x:1.3)"]))
def test_a_caption_is_never_syntax(said, suffix):
    prompt, tags = take_tags(as_prompt(said) + suffix)

    parts = [each for each in fragments(prompt) if each.text != "x"]

    assert tags == []
    assert BREAK not in parts
    assert {each.weight for each in parts} <= {1.0}


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        (" a cat\n on  a mat. ", "a cat on a mat"),
        ("a (red:1.2) [car]", r"a \(red:1.2\) \[car\]"),
        ("an owl <lora:evil:9> here", "an owl here"),
        ("one BREAK two", "one break two"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_a_caption_keeps_its_words(said, prompt):
    assert as_prompt(said) == prompt


def write_network(kind: Kind, folder: Path) -> dict[str, Path]:
    """Write a small network as its repository has it."""
    from transformers.models.blip.configuration_blip import BlipConfig
    from transformers.models.blip.modeling_blip import BlipForConditionalGeneration
    from transformers.models.blip_2.configuration_blip_2 import Blip2Config
    from transformers.models.blip_2.modeling_blip_2 import Blip2ForConditionalGeneration

    torch.manual_seed(3)
    vision = {**SMALL, "image_size": 28, "patch_size": 14}
    text = {"vocab_size": 64, "bos_token_id": START, "eos_token_id": END, "pad_token_id": 0}
    if kind is Kind.BLIP2:
        opt = {
            "model_type": "opt",
            "ffn_dim": 64,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 128,
        }
        config = Blip2Config(
            vision_config=vision,
            qformer_config={**SMALL, "encoder_hidden_size": 32, "vocab_size": 64},
            text_config={**SMALL, **text, **opt},
            num_query_tokens=4,
            image_token_index=PICTURE,
        )
        network = Blip2ForConditionalGeneration(config)
    else:
        text |= {"sep_token_id": END, "encoder_hidden_size": 32, "max_position_embeddings": 64}
        network = BlipForConditionalGeneration(
            BlipConfig(vision_config=vision, text_config={**SMALL, **text}, projection_dim=16)
        )
    network.save_pretrained(folder)
    vocab = {word: number for number, word in enumerate([*WORDS, "<s>", "</s>", "?", "<image>"])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="?"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<s>", "</s>", "<image>"])
    tokenizer.save(str(folder / TOKENIZER))
    return {f"{kind} {name}": folder / name for name in (CONFIG, TOKENIZER, "model.safetensors")}


@pytest.fixture(params=[Kind.BLIP2, Kind.BLIP])
def captioner(request, tmp_path, monkeypatch) -> Captioner:
    files = write_network(request.param, tmp_path)

    def refuse(*_: object) -> None:
        message = "loading needs no network"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "socket", refuse)
    return load_captioner(request.param, files, device="cpu", dtype=torch.float32)


def test_a_picture_is_described_in_few_words_and_the_same_ones(captioner):
    pixels = make_picture(40, 30).pixels
    asked: list[int] = []

    first = captioner.describe(pixels, lambda: asked.append(1))
    again = captioner.describe(pixels, lambda: None)

    assert first == again
    assert set(first.split("w")[1:]) <= {word[1:] for word in WORDS}
    assert 1 <= len(asked) <= 40


def test_a_job_that_is_cancelled_stops_between_tokens(captioner):
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        captioner.describe(make_picture(9, 9).pixels, cancel)


def test_a_network_that_lacks_tensors_is_refused(tmp_path):
    files = write_network(Kind.BLIP, tmp_path)
    other = json.loads((tmp_path / CONFIG).read_text())
    other["text_config"]["num_hidden_layers"] = 2
    (tmp_path / CONFIG).write_text(json.dumps(other))

    with pytest.raises(WeightsError, match="does not fit blip"):
        load_captioner(Kind.BLIP, files, device="cpu", dtype=torch.float32)


def test_the_caption_of_a_job_without_a_prompt_is_its_prompt_and_is_noted(undetailed, tmp_path):
    files = write_network(Kind.BLIP, tmp_path)
    captioner = load_captioner(Kind.BLIP, files, device="cpu", dtype=torch.float32)
    upscaler = replace(undetailed, captioner=captioner)
    picture = make_picture(16, 16)

    def run(**arguments):
        request = quick(scale=1.0, creativity=0.0, **arguments)
        return upscaler.upscale(picture, request, make_context())

    captioned, blank = run(prompt=None), run(prompt=" ")

    caption = captioned.notes["caption"]
    assert caption == upscaler.captioner.describe(picture.pixels, lambda: None)
    assert np.array_equal(captioned.images[0], run(prompt=caption).images[0])
    assert np.array_equal(captioned.images[0], blank.images[0])
    assert run(prompt="owl").notes == {}
