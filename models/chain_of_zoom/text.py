"""A prompt as the transformer reads it, by the three text encoders of Stable Diffusion 3."""

from collections import OrderedDict
from collections.abc import Callable
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

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encode texts.

        Args:
            ids: `(b, n)`; the first of the largest ends a text.

        Returns:
            `(b, n, width)` of the last block but one, and `(b, projected)` of the whole.
        """
        tower = self.text_model
        last_but_one = tower(tower.embed(ids), skip=1, normalise=False)
        last = tower.encoder.layers[-1](last_but_one, causal=True)
        ends = tower.final_layer_norm(last)[torch.arange(len(ids)), ids.argmax(-1)]
        return last_but_one, self.text_projection(ends)


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

    def forward(self, ids: Ids) -> Prompt:
        """Put what the encoders say one after the other: CLIP's tokens side by side, then T5's."""
        narrow, pooled = self.clip_l(ids.clip_l)
        wide, more_pooled = self.clip_g(ids.clip_g)
        long = self.t5(ids.t5)
        short = torch.cat([narrow, wide], dim=-1)
        short = pad(short, (0, long.shape[-1] - short.shape[-1]))
        return Prompt(
            tokens=torch.cat([short, long], dim=1).float(),
            pooled=torch.cat([pooled, more_pooled], dim=-1).float(),
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

    def embed(self, text: str) -> Prompt:
        """Return the embedding of a text, on the device."""
        if text not in self._known:
            ids = self._tokenize(text)
            there = {name: each.to(self._device) for name, each in vars(ids).items()}
            self._known[text] = self._encoders(Ids(**there))
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(text)
        return self._known[text]
