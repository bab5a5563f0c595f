"""From two frames to the words that prompt the next step.

At high zoom a picture says little of what it shows, so a language model looks at the frame before
it as well. Published wordings of such an instruction differ, so this one is ours; what it asks for,
a set of words, is what the adapter was trained to give and what the transformer was trained with.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from models.chain_of_zoom.text import tidied
from models.chain_of_zoom.zoom import Words
from models.diffusion.autoencoder import Tick, ignore
from models.errors import WeightsError
from models.placement import visitor_to
from models.speaking import before_each_token, words

INSTRUCTION = (
    "You are shown two images. The second one is an enlarged part of the first one. Knowing the "
    "first one, what does the second one show? Answer with a set of words and nothing else."
)
MOST_TOKENS = 32
"""Of an answer: CLIP reads 75, and the user's own words come last."""
MOST_LETTERS = 500
"""Of an answer: no more than of a user's own prompt."""
REPETITION = 1.05
"""What the score of a token is divided by if it was there before; the model's published value."""
SHORT_SIDE = 512
"""Pixels of the shorter side that a frame is shown with, as upstream; larger ones are shrunk."""
LEAST_PIXELS, MOST_PIXELS = 3136, 12_845_056
"""What the published `preprocessor_config.json` fits pictures between."""
ENDS = ("<|im_end|>", "<|endoftext|>")
PICTURE = "<|image_pad|>"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the network reads.

    Attributes:
        ids: `(1, n)` tokens, the pictures' among them.
        kinds: `(1, n)`: 1 for a picture's tokens, 0 for others. Without it no position in a picture
            would be known, and nothing would say so.
        pixels: `(patches, values)` of all pictures, one after the other.
        grids: `(pictures, 3)`: frames, rows and columns of patches of each.
    """

    ids: Tensor
    kinds: Tensor
    pixels: Tensor
    grids: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """Return it under the library's names."""
        return {
            "input_ids": self.ids,
            "attention_mask": torch.ones_like(self.ids),
            "mm_token_type_ids": self.kinds,
            "pixel_values": self.pixels,
            "image_grid_thw": self.grids,
        }


@dataclass(frozen=True, kw_only=True)
class Speech:
    """How an answer is made; always the most probable one, token by token.

    Attributes:
        ends: Tokens that end it.
        most: Tokens that it has at most.
    """

    ends: tuple[int, ...]
    most: int = MOST_TOKENS


def as_patches(pictures: Sequence[Image.Image], vision: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Cut pictures into what the network reads, by its own library.

    Args:
        pictures: RGB.
        vision: The configuration of the network's eyes.

    Returns:
        Pixels and grids, as a `Question` has them.
    """
    processor = Qwen2VLImageProcessorPil(
        min_pixels=LEAST_PIXELS,
        max_pixels=MOST_PIXELS,
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
    found = processor(images=list(pictures), return_tensors="pt")
    return found["pixel_values"], found["image_grid_thw"]


def speak(network: Any, question: Question, speech: Speech, tick: Tick = ignore) -> list[int]:  # noqa: ANN401
    """Answer a question, at batch 1, so that company never changes what is said.

    Args:
        network: From `load_language`.
        question: On its device.
        speech: See there.
        tick: Called before each token; may raise to stop.
    """
    ends = list(speech.ends)
    said = network.generate(
        **question.inputs(),
        generation_config=GenerationConfig(
            do_sample=False,
            repetition_penalty=REPETITION,
            max_new_tokens=speech.most,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        ),
        stopping_criteria=before_each_token(tick),
    )
    return said[0, question.ids.shape[1] :].tolist()


class Vocabulary:
    """The tokenizer of the network's repository."""

    def __init__(self, path: Path, *, picture: int) -> None:
        """Read a `tokenizer.json`.

        Args:
            path: Of it.
            picture: The token that the network takes for a part of a picture.

        Raises:
            WeightsError: It is missing, none, or of another network.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as exc:  # the library raises nothing narrower
            raise WeightsError(f"{path} is missing or no tokenizer ({exc}); pull it again") from exc
        found = (self._tokenizer.token_to_id(each) for each in ENDS)
        ends = tuple(each for each in found if each is not None)
        if len(ends) < len(ENDS) or self._tokenizer.token_to_id(PICTURE) != picture:
            raise WeightsError(
                f"{path} is of another model: it lacks {', '.join(ENDS)}, or {PICTURE} is not "
                f"{picture}"
            )
        self.speech = Speech(ends=ends)
        self._picture = picture

    def ask(self, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the ids and the kinds of a conversation that waits for its answer.

        Args:
            lengths: How many tokens each picture has.
        """
        text = conversation(lengths)
        ids = torch.tensor([self._tokenizer.encode(text, add_special_tokens=False).ids])
        return ids, (ids == self._picture).int()

    def words(self, ids: Sequence[int]) -> str:
        """Return an answer as text."""
        return words(self._tokenizer, ids)


def conversation(lengths: Sequence[int]) -> str:
    """Write the instruction, the pictures and the beginning of an answer as the network knows it.

    By the template of the published `chat_template.json`, for a system's message and a user's.
    """
    shown = "".join(f"<|vision_start|>{PICTURE * each}<|vision_end|>" for each in lengths)
    messages = (("system", INSTRUCTION), ("user", shown))
    told = "".join(f"<|im_start|>{who}\n{what}<|im_end|>\n" for who, what in messages)
    return f"{told}<|im_start|>assistant\n"


class Prompter:
    """Names what frames show; unchanged by any."""

    def __init__(self, network: Any, vocabulary: Vocabulary, device: torch.device) -> None:  # noqa: ANN401
        """Take a network that lies on the host and computes on a device."""
        self._network, self._vocabulary, self._device = network, vocabulary, device
        self._visitor = visitor_to(device, network)

    @contextmanager
    def present(self) -> Iterator[Words]:
        """Have the network on the device for the length of a block; yield `describe`."""
        with self._visitor.here():
            yield self._describe

    def _describe(self, before: Image.Image, now: Image.Image, tick: Tick) -> str:
        """Say in a few words what a frame shows.

        Args:
            before: The whole frame of the last step, or the source.
            now: What is made of it: an enlarged part.
            tick: Called before each token; may raise to stop.
        """
        vision = self._network.config.vision_config
        pixels, grids = as_patches([shown(before), shown(now)], vision)
        parts = grids.prod(dim=1) // vision.spatial_merge_size**2
        ids, kinds = self._vocabulary.ask(parts.tolist())
        there = (each.to(self._device) for each in (ids, kinds, pixels, grids))
        question = Question(**dict(zip(("ids", "kinds", "pixels", "grids"), there, strict=True)))
        said = speak(self._network, question, self._vocabulary.speech, tick)
        return tidied(self._vocabulary.words(said))[:MOST_LETTERS]


def shown(frame: Image.Image) -> Image.Image:
    """Shrink a frame to what the network is shown."""
    ratio = SHORT_SIDE / min(frame.size)
    if ratio >= 1:
        return frame
    width, height = (round(side * ratio) for side in frame.size)
    return frame.resize((width, height), Image.Resampling.LANCZOS)
