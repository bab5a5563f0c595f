"""Prompts to conditions, with the textual inversions that are known, each prompt once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence

from torch import Tensor

from models.diffusion.bpe import clip_tokenizer
from models.diffusion.clip import ClipText
from models.diffusion.conditioning import embed
from models.diffusion.inversions import InversionFile
from models.diffusion.prompts import Inversion, chunks, fragments
from models.errors import ArgumentInvalid

MOST_CHUNKS = 20
"""Of a prompt: 1500 tokens."""
KEPT = 16
"""Conditions that are remembered, some hundred kilobytes each."""


class Texts:
    """Encodes prompts; what comes again in other jobs is remembered."""

    def __init__(self, tower: ClipText, inversions: Sequence[InversionFile] = ()) -> None:
        """Make words of the inversions known."""
        self._tower = tower
        self._tokenize: Callable[[str], list[int]] = clip_tokenizer()
        self._vectors: Mapping[str, Tensor] = {
            name: each.vectors["text"] for each in inversions for name in each.names
        }
        self._inversions = [
            Inversion(name=name, ids=tuple(self._tokenize(name)), vectors=len(vectors))
            for name, vectors in self._vectors.items()
        ]
        self._known: OrderedDict[Hashable, Tensor] = OrderedDict()

    def condition(self, prompt: str, *, field: str, adapted: Hashable = ()) -> Tensor:
        """Return `(1, n, width)` float32 for a prompt without tags.

        Args:
            prompt: In the syntax of `prompts`.
            field: The request's, for the error.
            adapted: What changes the text encoder just now.

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

    def _encode(self, prompt: str, field: str) -> Tensor:
        found = chunks(fragments(prompt), self._tokenize, inversions=self._inversions)
        if len(found) > MOST_CHUNKS:
            raise ArgumentInvalid(
                f"{field}: its {len(found)} chunks of 75 tokens are more than {MOST_CHUNKS}; "
                "make it shorter",
                field=field,
            )
        return embed(self._tower, found, self._vectors)
