"""The language model that looks at frames, from recorded tokens to the words that it says."""

from collections.abc import Iterator

import torch
from PIL import Image
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from models.chain_of_zoom.language import assign_language, build_language, read_changes
from models.chain_of_zoom.prompter import Question, Speech, as_patches, speak
from models.checkpoint.strict import onto
from tests.goldens.case import Case
from tests.goldens.clarity.networks import InMemory
from tests.goldens.comparison import Comparison, Tolerance, agree, compare

FLOAT32 = Tolerance(absolute=1e-3)
PATCHES = Tolerance(absolute=1e-5)
PLACE = onto("cpu", torch.float32)


def language_of(case: Case):
    """Build the network of a case, with its adapter."""
    network = build_language(Qwen2_5_VLConfig.from_dict(case.config["model"]))
    changes = read_changes(InMemory(case.below("vlm_lora")))
    assign_language(network, InMemory(case.below("vlm")), changes, place=PLACE)
    return network


def question_of(case: Case, network) -> Question:
    """Put the pictures of a case before its tokens."""
    pictures = [Image.fromarray(case.inputs[f"image{number}_uint8"].numpy()) for number in range(2)]
    pixels, grids = as_patches(pictures, network.config.vision_config)
    ids = case.inputs["input_ids"]
    return Question(ids=ids, kinds=case.inputs["mm_token_type_ids"], pixels=pixels, grids=grids)


def check_language(case: Case) -> Iterator[Comparison]:
    """Look at two pictures and go on from a recorded question, greedily."""
    network = language_of(case)
    question = question_of(case, network)
    if "pixel_values" in case.intermediate:  # the project's own copy of the case leaves them out
        yield compare("pixel_values", question.pixels, case.intermediate["pixel_values"], PATCHES)
    yield agree(
        "image_grid_thw", question.grids.tolist(), case.intermediate["image_grid_thw"].tolist()
    )
    logits = network(**question.inputs()).logits
    yield compare("logits", logits, case.outputs["logits"], FLOAT32)
    speech = Speech(ends=(), most=case.config["max_new_tokens"])
    found = speak(network, question, speech)
    yield agree("generated_ids", found, case.outputs["generated_ids"].tolist())
