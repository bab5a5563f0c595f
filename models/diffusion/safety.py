"""Stable Diffusion's safety checker: is a picture close to what nobody wants to be shown?

A CLIP embedding of the picture is compared with those of 17 concepts, each with a threshold of its
own, and with 3 that only make it stricter (CompVis/stable-diffusion-safety-checker, whose tensors'
names are kept).
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.checkpoint.keymaps import rename
from models.checkpoint.open import open_checkpoint
from models.checkpoint.strict import assign, onto
from models.diffusion.clip import ClipVision, TowerConfig, read_tower
from models.errors import WeightsError
from models.image import Pixels

SIDE = 224
"""Pixels of what the tower is shown."""
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""Of the pictures that CLIP learnt from, by channel."""
STRICTER = 0.01
"""Added to all scores of a picture that is close to one of the special concepts."""
DIGITS = 3
"""Scores are rounded to as many before they are judged."""

NAMES = rename(((r"^vision_model\.vision_model\.", "vision_model."),))
IGNORABLE = (r".*\.position_ids",)
TOWER = "vision_model."


class SafetyChecker(nn.Module):
    """The tower, and the concepts that pictures are compared with."""

    def __init__(
        self, config: TowerConfig, *, joint: int, concepts: int, special: int, patch: int, side: int
    ) -> None:
        super().__init__()
        self.side = side
        self.vision_model = ClipVision(config, patch=patch, patches=(side // patch) ** 2)
        self.visual_projection = nn.Linear(config.width, joint, bias=False)
        self.concept_embeds = nn.Parameter(torch.empty(concepts, joint))
        self.concept_embeds_weights = nn.Parameter(torch.empty(concepts))
        self.special_care_embeds = nn.Parameter(torch.empty(special, joint))
        self.special_care_embeds_weights = nn.Parameter(torch.empty(special))

    def forward(self, pixels: Tensor) -> Tensor:
        """Judge pictures.

        Args:
            pixels: `(b, 3, side, side)`, as `seen` makes them.

        Returns:
            `(b,)` booleans: whether each is flagged.
        """
        joint = normalize(self.visual_projection(self.vision_model(pixels)).float(), dim=-1)
        special = self._scores(joint, self.special_care_embeds, self.special_care_embeds_weights)
        stricter = (special > 0).any(1, keepdim=True) * STRICTER
        concepts = joint @ normalize(self.concept_embeds.float(), dim=-1).T
        scores = concepts - self.concept_embeds_weights.float() + stricter
        return (scores.round(decimals=DIGITS) > 0).any(1)

    @staticmethod
    def _scores(joint: Tensor, concepts: Tensor, thresholds: Tensor) -> Tensor:
        near = joint @ normalize(concepts.float(), dim=-1).T
        return (near - thresholds.float()).round(decimals=DIGITS)

    @torch.inference_mode()
    def flags(self, pixels: Pixels) -> bool:
        """Tell whether a picture, `(h, w, 3)` uint8 RGB, is one that nobody wants to be shown."""
        weight = self.visual_projection.weight
        return bool(self(seen(pixels, self.side).to(weight.device, weight.dtype))[0])


def seen(pixels: Pixels, side: int = SIDE) -> Tensor:
    """Return what the tower is shown: the middle of a picture, `(1, 3, side, side)`, normalised."""
    image = Image.fromarray(pixels)
    ratio = side / min(image.size)
    width, height = (max(side, round(each * ratio)) for each in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    fitted = image.resize((width, height), Image.Resampling.BICUBIC)
    cut = np.asarray(fitted.crop((left, top, left + side, top + side)), np.float32) / 255
    normalised = (cut - MEAN) / DEVIATION
    return torch.from_numpy(normalised).permute(2, 0, 1)[None]


def load_safety_checker(path: Path, *, device: str, dtype: torch.dtype) -> SafetyChecker:
    """Load the published checkpoint; its tensors say how large it is.

    Raises:
        WeightsError: It is missing, damaged, or something else.
    """
    with open_checkpoint(path) as checkpoint:
        shapes = {NAMES(name): shape for name, shape in checkpoint.shapes.items()}
        try:
            patch = shapes[f"{TOWER}embeddings.patch_embedding.weight"][2]
            patches = shapes[f"{TOWER}embeddings.position_embedding.weight"][0] - 1
            concepts, joint = shapes["concept_embeds"]
            with torch.device("meta"):
                checker = SafetyChecker(
                    read_tower(shapes, TOWER),
                    joint=joint,
                    concepts=concepts,
                    special=shapes["special_care_embeds"][0],
                    patch=patch,
                    side=patch * round(patches**0.5),
                )
        except KeyError as exc:
            raise WeightsError(f"{path} is no safety checker: {exc} is missing") from exc
        assign(checker, checkpoint, place=onto(device, dtype), keymap=NAMES, ignorable=IGNORABLE)
    return checker.eval()
