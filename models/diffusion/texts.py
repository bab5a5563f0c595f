"""Prompts to conditions, with the textual inversions that are known, each prompt once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from models.diffusion.bpe import clip_tokenizer
from models.diffusion.clip import ClipText
from models.diffusion.conditioning import Condition, embed, filled_with, summarise
from models.diffusion.inversions import InversionFile
from models.diffusion.prompts import Chunk, Inversion, chunks, fragments
from models.errors import ArgumentInvalid

MOST_CHUNKS = 20
"""Of a prompt: 1500 tokens."""
KEPT = 16
"""Conditions that are remembered, some hundred kilobytes each."""
FILLING = 0
"""The token that fills up what the second tower reads; the first one's is that which ends."""


@cache
def tokenizer() -> Callable[[str], list[int]]:
    """Return CLIP's, made once in a process: it never changes."""
    return clip_tokenizer()


class Texts:
    """Encodes prompts; what comes again in other jobs is remembered."""

    def __init__(
        self,
        towers: Mapping[str, ClipText],
        inversions: Sequence[InversionFile] = (),
        *,
        projection: nn.Linear | None = None,
    ) -> None:
        """Make words of the inversions known.

        Args:
            towers: "text", and "text_2" in Stable Diffusion XL.
            inversions: With vectors for all towers.
            projection: Of what the second tower makes of a whole prompt.
        """
        self._towers, self._projection = towers, projection
        self._vectors: Mapping[str, Mapping[str, Tensor]] = {
            tower: {name: each.vectors[tower] for each in inversions for name in each.names}
            for tower in towers
        }
        self._inversions = [
            Inversion(name=name, ids=tuple(tokenizer()(name)), vectors=len(vectors))
            for name, vectors in self._vectors["text"].items()
        ]
        self._known: OrderedDict[Hashable, Condition] = OrderedDict()

    def condition(self, prompt: str, *, field: str, adapted: Hashable = ()) -> Condition:
        """Return what a UNet is told of a prompt without tags, in float32.

        Args:
            prompt: In the syntax of `prompts`.
            field: The request's, for the error.
            adapted: What changes the text encoders just now.

        Raises:
            ArgumentInvalid: The prompt is too long.
        """
        key = (prompt, adapted)
        if key not in self._known:
            self._known[key] = self._encode(prompt, field)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _encode(self, prompt: str, field: str) -> Condition:
        found = chunks(fragments(prompt), tokenizer(), inversions=self._inversions)
        if len(found) > MOST_CHUNKS:
            raise ArgumentInvalid(
                f"{field}: its {len(found)} chunks of 75 tokens are more than {MOST_CHUNKS}; "
                "make it shorter",
                field=field,
            )
        if self._projection is None:
            return Condition(tokens=embed(self._towers["text"], found, self._vectors["text"]))
        return self._encode_by_both(found, self._projection)

    def _encode_by_both(self, found: Sequence[Chunk], projection: nn.Linear) -> Condition:
        """Put what both towers say side by side: the last block but one, without a norm."""
        refilled = [filled_with(chunk, FILLING) for chunk in found]
        read = [
            embed(self._towers[tower], parts, self._vectors[tower], skip=1, normalise=False)
            for tower, parts in (("text", found), ("text_2", refilled))
        ]
        whole = summarise(self._towers["text_2"], projection, refilled[0], self._vectors["text_2"])
        return Condition(tokens=torch.cat(read, dim=-1), pooled=whole)
