"""The three text encoders, from tokens to what the transformer reads."""

from collections.abc import Iterator

import torch

from models.chain_of_zoom.text import Ids, ProjectedClip, TextEncoders
from models.checkpoint.strict import assign, onto
from models.diffusion.clip import read_tower
from models.diffusion.t5 import SPARE, T5Encoder, read_t5_config
from tests.goldens.case import Case
from tests.goldens.clarity.networks import InMemory
from tests.goldens.comparison import Comparison, Tolerance, compare

FLOAT32 = Tolerance(absolute=1e-4)
PLACE = onto("cpu", torch.float32)


def check_text(case: Case) -> Iterator[Comparison]:
    """Embed recorded tokens."""
    encoders = TextEncoders(
        clip_l=_clip(case, "text_encoder", "clip_1"),
        clip_g=_clip(case, "text_encoder_2", "clip_2"),
        t5=_t5(case),
    )
    ids = (case.inputs[f"ids_{number}"] for number in (1, 2, 3))
    (prompt,) = encoders([Ids(**dict(zip(("clip_l", "clip_g", "t5"), ids, strict=True)))])
    yield compare("prompt_embeds", prompt.tokens, case.outputs["prompt_embeds"], FLOAT32)
    expected = case.outputs["pooled_prompt_embeds"]
    yield compare("pooled_prompt_embeds", prompt.pooled, expected, FLOAT32)


def _clip(case: Case, part: str, name: str) -> ProjectedClip:
    weights, sizes = InMemory(case.below(part)), case.config[name]
    quick = sizes["hidden_act"] == "quick_gelu"
    config = read_tower(
        weights.shapes, "text_model.", heads=sizes["num_attention_heads"], quick=quick
    )
    with torch.device("meta"):
        tower = ProjectedClip(
            config,
            projected=sizes["projection_dim"],
            words=sizes["vocab_size"],
            places=sizes["max_position_embeddings"],
        )
    assign(tower, weights, place=PLACE)
    return tower


def _t5(case: Case) -> T5Encoder:
    weights = InMemory(case.below("text_encoder_3"))
    with torch.device("meta"):
        encoder = T5Encoder(read_t5_config(weights.shapes))
    assign(encoder, weights, place=PLACE, ignorable=SPARE)
    return encoder
