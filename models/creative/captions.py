"""What a picture shows, in a sentence that stands for a missing prompt: BLIP-2, or BLIP.

A caption is plain text: whatever a network says, nothing in it is read as a prompt's syntax.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from models.creative.options import Captioner as Kind
from models.creative.weights import CONFIG, TOKENIZER
from models.diffusion.safety import DEVIATION, MEAN
from models.errors import WeightsError
from models.image import Pixels
from models.placement import visitor_to
from models.speaking import before_each_token, words

MOST_TOKENS = 40
"""Of a caption."""
TAG = re.compile(r"<[^<>]*>")
BRACKETS = re.compile(r"([()\[\]\\])")
BREAK = re.compile(r"\bBREAK\b")


def as_prompt(said: str) -> str:
    """Return a caption as a prompt that means nothing but its words."""
    plain = " ".join(TAG.sub(" ", said).replace("<", " ").replace(">", " ").split())
    unbroken = BREAK.sub("break", plain.removesuffix(".").rstrip())
    return BRACKETS.sub(r"\\\1", unbroken)


class Captioner:
    """A network of transformers that lies on the host, and visits the device for each picture."""

    def __init__(self, network: Any, tokenizer: Tokenizer, device: torch.device) -> None:  # noqa: ANN401
        """Take a network, what turns its tokens into words, and where it computes."""
        self._network, self._tokenizer, self._device = network, tokenizer, device
        self._visitor = visitor_to(device, network)

    @torch.inference_mode()
    def describe(self, pixels: Pixels, tick: Callable[[], None]) -> str:
        """Return a caption as a prompt.

        Args:
            pixels: `(h, w, 3)` uint8 RGB.
            tick: Called before each token; may raise to stop.
        """
        with self._visitor.here():
            said = self._say(pixels, tick)
        return as_prompt(words(self._tokenizer, said))

    def _say(self, pixels: Pixels, tick: Callable[[], None]) -> list[int]:
        """Return the most probable tokens, one by one."""
        config = self._network.config
        shown = seen(pixels, config.vision_config.image_size)
        given: dict[str, Any] = {}
        before = 1
        if config.model_type == "blip-2":
            before = config.num_query_tokens + 1
            parts = [config.image_token_index] * config.num_query_tokens
            ids = torch.tensor([[*parts, config.text_config.bos_token_id]], device=self._device)
            given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

        made = self._network.generate(
            pixel_values=shown.to(self._device, self._network.dtype),
            do_sample=False,
            num_beams=1,
            max_new_tokens=MOST_TOKENS,
            stopping_criteria=before_each_token(tick),
            **given,
        )
        return list(made[0, before:].tolist())


def seen(pixels: Pixels, side: int) -> Tensor:
    """Return a whole picture as the network sees it, `(1, 3, side, side)`, normalised."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    normalised = (np.asarray(resized, np.float32) / 255 - MEAN) / DEVIATION
    return torch.from_numpy(normalised).permute(2, 0, 1)[None]


def load_captioner(
    kind: Kind, files: Mapping[str, Path], *, device: str, dtype: torch.dtype
) -> Captioner:
    """Load a network in the layout of the hub, strictly.

    Args:
        kind: Which; not none.
        files: By the names of the manifest's parts.
        device: Where it computes.
        dtype: Of its weights.

    Raises:
        WeightsError: A file is damaged, or of another network.
    """
    folder = files[f"{kind} {CONFIG}"].parent
    try:
        network = _load(kind, folder, dtype)
        tokenizer = Tokenizer.from_file(str(files[f"{kind} {TOKENIZER}"]))
    except WeightsError:
        raise
    except Exception as exc:  # the libraries raise all kinds
        reason = f"{folder} holds no {kind}, or a damaged one ({exc}); pull it again"
        raise WeightsError(reason) from exc
    return Captioner(network, tokenizer, torch.device(device))


def _load(kind: Kind, folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401
    from transformers.models.blip.modeling_blip import BlipForConditionalGeneration
    from transformers.models.blip_2.modeling_blip_2 import Blip2ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    classes: dict[Kind, Any] = {
        Kind.BLIP: BlipForConditionalGeneration,
        Kind.BLIP2: Blip2ForConditionalGeneration,
    }
    network, found = classes[kind].from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    odd = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if odd:
        raise WeightsError(f"{folder} does not fit {kind}: see {', '.join(odd[:5])}")
    return network.eval()
