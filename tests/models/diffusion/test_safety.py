import re

import numpy as np
import pytest
import torch

from models.diffusion.safety import load_safety_checker, seen
from models.errors import WeightsError
from tests.checkpoints import write_tensors
from tests.pictures import make_pixels

WIDTH, JOINT = 64, 24


def small_checker(folder, *, prefix: str = "vision_model.vision_model."):
    """Write a checker of one layer that sees 28 pixels, in the published layout."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / max(1, shape[-1]) ** 0.5

    layer = {
        f"self_attn.{name}_proj.{part}": shape
        for name in ("q", "k", "v", "out")
        for part, shape in (("weight", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
    } | {
        "mlp.fc1.weight": (96, WIDTH),
        "mlp.fc1.bias": (96,),
        "mlp.fc2.weight": (WIDTH, 96),
        "mlp.fc2.bias": (WIDTH,),
        **{f"layer_norm{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")},
    }
    tower = {
        "embeddings.class_embedding": (WIDTH,),
        "embeddings.patch_embedding.weight": (WIDTH, 3, 14, 14),
        "embeddings.position_embedding.weight": (5, WIDTH),
        **{
            f"{norm}.{part}": (WIDTH,)
            for norm in ("pre_layrnorm", "post_layernorm")
            for part in ("weight", "bias")
        },
        **{f"encoder.layers.0.{name}": shape for name, shape in layer.items()},
    }
    tensors = {f"{prefix}{name}": some(*shape) for name, shape in tower.items()}
    tensors |= {
        f"{prefix}embeddings.position_ids": torch.arange(5)[None],
        "visual_projection.weight": some(JOINT, WIDTH),
        "concept_embeds": some(17, JOINT),
        "concept_embeds_weights": torch.full((17,), 2.0),  # no cosine reaches that
        "special_care_embeds": some(3, JOINT),
        "special_care_embeds_weights": torch.full((3,), 2.0),
    }
    path = write_tensors(folder / "safety.bin", tensors)
    return load_safety_checker(path, device="cpu", dtype=torch.float32)


def embedding(checker, pixels) -> torch.Tensor:
    with torch.inference_mode():
        return checker.visual_projection(checker.vision_model(seen(pixels, checker.side)))[0]


def test_a_picture_close_to_a_concept_is_flagged_and_no_other(tmp_path):
    checker = small_checker(tmp_path)
    bad, good = make_pixels(40, 30), 255 - make_pixels(30, 50)
    with torch.no_grad():
        checker.concept_embeds[3] = 5 * embedding(checker, bad)
        checker.concept_embeds_weights[3] = 0.999

    assert checker.flags(bad)
    assert not checker.flags(good)


def test_a_special_concept_makes_the_others_stricter_but_flags_nothing_itself(tmp_path):
    checker = small_checker(tmp_path)
    pixels = make_pixels(40, 30)
    joint = embedding(checker, pixels)
    with torch.no_grad():
        checker.concept_embeds[0] = joint
        checker.concept_embeds_weights[0] = 1.005
    assert not checker.flags(pixels)

    with torch.no_grad():
        checker.special_care_embeds[1] = joint
        checker.special_care_embeds_weights[1] = 0.99
    assert checker.flags(pixels)

    with torch.no_grad():
        checker.concept_embeds_weights[0] = 2.0
    assert not checker.flags(pixels)


@pytest.mark.parametrize("prefix", ["vision_model.vision_model.", "vision_model."])
def test_both_names_of_the_tower_load(tmp_path, prefix):
    assert small_checker(tmp_path, prefix=prefix).side == 28


def test_another_checkpoint_is_refused(tmp_path):
    path = write_tensors(tmp_path / "other.safetensors", {"conv.weight": torch.zeros(1)})

    with pytest.raises(WeightsError, match=re.escape(f"{path} is no safety checker")):
        load_safety_checker(path, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (224, 224), (640, 480)])
def test_pictures_of_any_size_are_shown_by_their_middle(size):
    shown = seen(make_pixels(*size))

    assert shown.shape == (1, 3, 224, 224)
    assert np.isfinite(shown.numpy()).all()
