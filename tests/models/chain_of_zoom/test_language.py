import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.chain_of_zoom.language import (
    ADAPTED,
    build_language,
    load_language,
    read_changes,
    read_language_config,
)
from models.chain_of_zoom.loading import load_prompter
from models.chain_of_zoom.options import ChainOfZoomOptions, Prompter
from models.chain_of_zoom.prompter import Vocabulary, conversation, shown
from models.chain_of_zoom.text import joined
from models.chain_of_zoom.weights import MANIFEST
from models.checkpoint.manifest import look
from models.checkpoint.open import open_checkpoint
from models.checkpoint.strict import onto
from models.diffusion.autoencoder import ignore
from models.errors import Cancelled, WeightsError
from tests.checkpoints import write_tensors
from tests.models.chain_of_zoom.small import (
    LANGUAGE_ADAPTER,
    LANGUAGE_CONFIG,
    PUBLISHED_LANGUAGE,
    language_adapter,
    published,
    write_language,
)
from tests.pictures import make_pixels

PLACE = onto("cpu", torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"))


def load(folder: Path, adapter: Path | None = None):
    return load_language(
        read_language_config(folder / "config.json"),
        sorted(folder.glob("model-*.safetensors")),
        adapter or folder / LANGUAGE_ADAPTER,
        place=PLACE,
    )


def prompter(folder: Path):
    (variant,) = MANIFEST.variants
    return load_prompter(look(variant.parts, folder), device="cpu", dtype=torch.float32)


def frames(*seeds: int) -> list[Image.Image]:
    return [Image.fromarray(make_pixels(90, 60, seed=seed)) for seed in seeds]


def say(it, *seeds: int) -> str:
    with torch.inference_mode(), it.present() as describe:
        return describe(*frames(*seeds), ignore)


def test_each_tensor_of_the_published_adapter_has_its_layer(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED_LANGUAGE))
    network = build_language(read_language_config(tmp_path / "config.json"))
    shapes = published(f"{LANGUAGE_ADAPTER} (derived, unverified)")

    class Listed:
        path = Path("list")

        def read(self, name: str) -> torch.Tensor:
            return torch.empty(shapes[name], device="meta")

    Listed.shapes = shapes
    changes = read_changes(Listed())

    assert sum(each.numel() for each in network.parameters()) == 3_754_622_976
    assert len(shapes) == 504 == 2 * len(changes) == 2 * 36 * len(ADAPTED)
    for layer, (up, down) in changes.items():
        assert network.get_submodule(layer).weight.shape == (up.shape[0], down.shape[1])


def test_the_adapter_is_added_to_each_layer_and_changes_what_is_said(folder, tmp_path):
    path = write_tensors(
        tmp_path / "none.safetensors",
        {name: torch.zeros_like(each) for name, each in language_adapter(1).items()},
    )
    plain, adapted = load(folder, path), load(folder)
    added = language_adapter(1)
    ids = torch.arange(20)[None]

    for number in range(LANGUAGE_CONFIG["num_hidden_layers"]):
        for part in ADAPTED:
            old = f"base_model.model.model.layers.{number}.{part}"
            change = 4 * added[f"{old}.lora_B.weight"] @ added[f"{old}.lora_A.weight"]
            before, after = (
                each.model.language_model.layers[number].get_submodule(part).weight
                for each in (plain, adapted)
            )
            torch.testing.assert_close(after - before, change, rtol=0, atol=1e-5)
    with torch.inference_mode():
        first, second = (each(input_ids=ids).logits for each in (plain, adapted))
    assert (first - second).abs().max() > 0.1


def test_an_adapter_with_the_names_of_today_is_the_same(folder, tmp_path):
    renamed = {
        name.replace(".model.layers.", ".model.language_model.layers."): each
        for name, each in language_adapter(1).items()
    }
    path = write_tensors(tmp_path / "new.safetensors", renamed)

    first, second = load(folder).state_dict(), load(folder, path).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def without(end: str):
    return lambda adapter: {name: each for name, each in adapter.items() if not name.endswith(end)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("1.mlp.up_proj.lora_A.weight"), "no adapter of pairs: see base_model"),
        (
            lambda adapter: {k: v for k, v in adapter.items() if "1.mlp.up_proj" not in k},
            "changes 13 layers where 14 are to be changed, or has other shapes; see model.language",
        ),
        (
            lambda adapter: {k.replace("layers", "blocks"): v for k, v in adapter.items()},
            "see model.language_model.blocks.0.mlp.down_proj",
        ),
        (
            lambda adapter: {k: v.mT.contiguous() for k, v in adapter.items()},
            "or has other shapes; see model.language_model.layers.0.mlp.down_proj",
        ),
    ],
)
def test_an_adapter_that_would_change_less_than_all_is_refused(folder, tmp_path, change, reason):
    path = write_tensors(tmp_path / "other.safetensors", change(language_adapter(1)))

    with pytest.raises(WeightsError, match=re.escape(reason)):
        load(folder, path)


def test_a_network_or_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    other = tmp_path / "config.json"
    other.write_text(json.dumps(LANGUAGE_CONFIG | {"model_type": "qwen3_vl"}))
    with pytest.raises(WeightsError, match="is of qwen3_vl, not of qwen2_5_vl"):
        read_language_config(other)
    for text in ("[]", "{", '{"model_type": "qwen2_5_vl", "hidden_size": "wide"}'):
        other.write_text(text)
        with pytest.raises(WeightsError, match="missing or no configuration"):
            read_language_config(other)
    with pytest.raises(WeightsError, match="is of another model"):
        Vocabulary(folder / "tokenizer.json", picture=1)
    with pytest.raises(WeightsError, match="is missing or no tokenizer"):
        Vocabulary(other, picture=1)


def test_pictures_become_words(folder):
    it = prompter(folder)

    said = say(it, 1, 2)

    assert said
    assert said.isprintable()
    assert say(it, 1, 2) == said  # nothing is kept of the last answer
    assert len({said, say(it, 3, 2), say(it, 1, 3)}) == 3


def test_each_picture_has_a_token_for_four_patches_and_a_kind(folder):
    config = read_language_config(folder / "config.json")
    vocabulary = Vocabulary(folder / "tokenizer.json", picture=config.image_token_id)

    ids, kinds = vocabulary.ask([6, 4])

    assert kinds.sum() == (ids == config.image_token_id).sum() == 10
    assert conversation([2, 1]).endswith(
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>"
        "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert conversation([]).startswith("<|im_start|>system\nYou are shown two images.")


def test_an_answer_can_be_stopped_between_two_words(folder):
    it, asked = prompter(folder), []

    def tick() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled

    with torch.inference_mode(), it.present() as describe, pytest.raises(Cancelled):
        describe(*frames(1, 2), tick)


def test_large_frames_are_shown_smaller():
    assert shown(Image.new("RGB", (2048, 1024))).size == (1024, 512)
    assert shown(Image.new("RGB", (2048, 341))).size == (2048, 341)


@pytest.mark.parametrize(
    ("said", "wanted", "prompt"),
    [("fur", "fox", "fur, fox,"), ("fur", "", "fur"), ("", "fox", "fox"), ("", "", "")],
)
def test_the_user_s_words_come_last(said, wanted, prompt):
    assert joined(said, wanted) == prompt


def test_only_who_asks_for_the_language_model_needs_its_files():
    (variant,) = MANIFEST.variants
    names = {part.name for part in ChainOfZoomOptions().parts(variant)}
    more = {part.name for part in ChainOfZoomOptions(prompter=Prompter.VLM).parts(variant)} - names

    assert {each.split()[0] for each in more} == {"language"}
    assert not any(each.startswith("language") for each in names)


def test_nothing_of_the_adapter_s_file_is_left_over(folder):
    with open_checkpoint(folder / LANGUAGE_ADAPTER) as adapter:
        assert 2 * len(read_changes(adapter)) == len(adapter.shapes) == 28
