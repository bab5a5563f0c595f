import gzip
import json
from pathlib import Path

import pytest
import torch

from models.chain_of_zoom.text import ProjectedClip
from models.diffusion.clip import TowerConfig
from models.diffusion.t5 import T5Config, T5Encoder, buckets, read_t5_config
from models.errors import WeightsError

DATA = Path(__file__).parents[2] / "data" / "chain_of_zoom"
WIDE = TowerConfig(width=1280, inner=5120, layers=32, heads=20, quick=False)


def parameters(module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_the_encoders_have_as_many_parameters_as_the_published_ones():
    with gzip.open(DATA / "keys.json.gz") as keys:
        counts = json.load(keys)["parameter_counts"]
    with torch.device("meta"):
        t5 = T5Encoder(T5Config())
        narrow = ProjectedClip(TowerConfig(), projected=768, words=49408, places=77)
        wide = ProjectedClip(WIDE, projected=1280, words=49408, places=77)

    assert parameters(t5) == counts["t5"]
    assert parameters(narrow) == counts["clip_l"]
    assert parameters(wide) == counts["clip_g"]
    shapes = {name: tuple(each.shape) for name, each in t5.state_dict().items()}
    assert read_t5_config(shapes) == T5Config()


def test_distances_share_buckets_the_more_the_farther_they_are():
    distances = torch.tensor([0, -1, -7, -8, -11, -12, -127, -500, 1, 8, 500])

    assert buckets(distances, 32).tolist() == [0, 1, 7, 8, 8, 9, 15, 15, 17, 24, 31]


def test_a_checkpoint_of_something_else_is_refused():
    with pytest.raises(WeightsError, match=r"no encoder of T5: 'shared\.weight' is missing"):
        read_t5_config({})
