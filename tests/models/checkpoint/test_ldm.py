"""The original names against the published list of what each is called in diffusers."""

import gzip
import json
from pathlib import Path

import pytest

from models.checkpoint import ldm

MAP = Path(__file__).parents[2] / "data" / "ccsr" / "key_map.json.gz"

KEYMAPS = {
    "unet": ("model.diffusion_model.", ldm.unet(2)),
    "controlnet": ("control_model.", ldm.unet(2)),
    "vae": ("first_stage_model.", ldm.autoencoder(4)),
    "condition_encoder": ("cond_encoder.", ldm.autoencoder(4)),
}


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    """Return diffusers' name of every published one; of a split kernel, that of its first part."""
    with gzip.open(MAP) as file:
        found = json.load(file)
    return {
        part: {
            name: ours if isinstance(ours, str) else max(ours) for name, ours in found[part].items()
        }
        for part in KEYMAPS
    }


@pytest.mark.parametrize("part", KEYMAPS)
def test_every_published_name_has_its_own(known, part):
    prefix, keymap = KEYMAPS[part]

    renamed = {name: keymap(name.removeprefix(prefix)) for name in known[part]}

    assert renamed == known[part]


@pytest.mark.parametrize(
    ("resnets", "name", "ours"),
    [
        (1, "input_blocks.3.0.in_layers.0.weight", "down_blocks.1.resnets.0.norm1.weight"),
        (1, "input_blocks.2.0.op.bias", "down_blocks.0.downsamplers.0.conv.bias"),
        (1, "output_blocks.3.1.norm.weight", "up_blocks.1.attentions.1.norm.weight"),
        (3, "output_blocks.3.2.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        (3, "output_blocks.7.1.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
    ],
)
def test_other_depths_are_counted_through(resnets, name, ours):
    assert ldm.unet(resnets)(name) == ours
