"""A prompt as the transformer reads it, by the three text encoders of Stable Diffusion 3."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import pad

from models.chain_of_zoom.enhancer import Prompt
from models.diffusion.bpe import clip_tokenizer
from models.diffusion.clip import ClipText, TowerConfig
from models.diffusion.t5 import T5Encoder
from models.errors import WeightsError

START, END = 49406, 49407
"""What encloses a prompt for CLIP."""
PLACES = 77
"""Tokens of a prompt for CLIP, the enclosing two included; what is beyond is cut off."""
FILLINGS = (END, 0)
"""What fills a prompt up for the first tower, and for the second."""
T5_TOKENS = 512
"""Of a prompt for T5: what the adapter was trained with, twice the base model's default."""
KEPT = 16
"""Prompts that are remembered, 10 megabytes each."""


class ProjectedClip(nn.Module):
    """A text tower, and what its reading of the last token is projected to."""

    def __init__(self, config: TowerConfig, *, projected: int, words: int, places: int) -> None:
        super().__init__()
        self.text_model = ClipText(config, words=words, places=places)
        self.text_projection = nn.Linear(config.width, projected, bias=False)

    def forward(self, texts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Encode texts, each block all of them before the next one is called.

        Args:
            texts: `(1, n)` tokens each; the first of the largest ends a text.

        Returns:
            For each `(1, n, width)` of the last block but one, and `(1, projected)` of the whole.
        """
        tower = self.text_model
        read = [tower.placed(tower.embed(ids)) for ids in texts]
        *blocks, last = tower.encoder.layers
        for block in blocks:
            read = [block(tokens, causal=True) for tokens in read]
        return [
            (tokens, self._whole(ids, last(tokens, causal=True)))
            for ids, tokens in zip(texts, read, strict=True)
        ]

    def _whole(self, ids: Tensor, tokens: Tensor) -> Tensor:
        ends = self.text_model.final_layer_norm(tokens)[torch.arange(len(ids)), ids.argmax(-1)]
        return self.text_projection(ends)


@dataclass(frozen=True, kw_only=True)
class Ids:
    """A tokenised prompt, `(1, n)` for each encoder."""

    clip_l: Tensor
    clip_g: Tensor
    t5: Tensor


class TextEncoders(nn.Module):
    """The three encoders."""

    def __init__(self, *, clip_l: ProjectedClip, clip_g: ProjectedClip, t5: T5Encoder) -> None:
        super().__init__()
        self.clip_l, self.clip_g, self.t5 = clip_l, clip_g, t5

    def blocks(self) -> list[nn.Module]:
        """Return all blocks of all encoders, in the order in which they are called."""
        towers = (self.clip_l.text_model, self.clip_g.text_model)
        clip = [block for tower in towers for block in tower.encoder.layers]
        return [*clip, *self.t5.encoder.block]

    def forward(self, texts: Sequence[Ids]) -> list[Prompt]:
        """Embed prompts, each as if alone; a block that visits the device comes once for all."""
        narrow = self.clip_l([each.clip_l for each in texts])
        wide = self.clip_g([each.clip_g for each in texts])
        long = self.t5([each.t5 for each in texts])
        return [_prompt(*parts) for parts in zip(narrow, wide, long, strict=True)]


def _prompt(narrow: tuple[Tensor, Tensor], wide: tuple[Tensor, Tensor], long: Tensor) -> Prompt:
    """Put what the encoders say one after the other: CLIP's tokens side by side, then T5's."""
    short = torch.cat([narrow[0], wide[0]], dim=-1)
    short = pad(short, (0, long.shape[-1] - short.shape[-1]))
    return Prompt(
        tokens=torch.cat([short, long], dim=1).float(),
        pooled=torch.cat([narrow[1], wide[1]], dim=-1).float(),
    )


class Tokenizers:
    """Turn a prompt into tokens, one for CLIP and one for T5."""

    def __init__(self, t5: Path) -> None:
        """Read T5's, a `tokenizer.json`.

        Raises:
            WeightsError: It is missing or none.
        """
        try:
            self._t5 = Tokenizer.from_file(str(t5))
        except Exception as exc:  # the library raises nothing narrower
            raise WeightsError(f"{t5} is missing or no tokenizer ({exc}); pull it again") from exc
        self._t5.enable_truncation(T5_TOKENS)
        self._t5.enable_padding(length=T5_TOKENS, pad_id=0, pad_token="<pad>")  # noqa: S106
        self._clip: Callable[[str], list[int]] = clip_tokenizer()

    def __call__(self, text: str) -> Ids:
        """Tokenise a text of any length; what an encoder has no room for is cut off."""
        enclosed = [START, *self._clip(text)[: PLACES - 2], END]
        room = PLACES - len(enclosed)
        first, second = (torch.tensor([[*enclosed, *[each] * room]]) for each in FILLINGS)
        return Ids(clip_l=first, clip_g=second, t5=torch.tensor([self._t5.encode(text).ids]))


class Prompts:
    """Embeds prompts; what comes again in other jobs is remembered."""

    def __init__(
        self, encoders: TextEncoders, tokenize: Callable[[str], Ids], device: torch.device
    ) -> None:
        """Take encoders that compute on a device, wherever their weights wait."""
        self._encoders, self._tokenize, self._device = encoders, tokenize, device
        self._known: OrderedDict[str, Prompt] = OrderedDict()

    def embed(self, texts: Sequence[str]) -> list[Prompt]:
        """Return the embedding of each text, on the device."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            made = self._encoders([self._ids(text) for text in new])
            self._known.update(zip(new, made, strict=True))
        found = []
        for text in texts:
            self._known.move_to_end(text)
            found.append(self._known[text])
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found

    def _ids(self, text: str) -> Ids:
        there = {name: each.to(self._device) for name, each in vars(self._tokenize(text)).items()}
        return Ids(**there)


def tidied(text: str) -> str:
    """Drop control characters, and what spaces do not separate words."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())


def joined(said: str, wanted: str) -> str:
    """Put a user's words behind those of a language model, with upstream's commas."""
    if not wanted or not said:
        return said or wanted
    return f"{said}, {wanted},"
