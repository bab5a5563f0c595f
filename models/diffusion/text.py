"""Text encoders."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.checkpoint.open import Shape
from models.errors import WeightsError

HEAD_WIDTH = 64
"""Channels of an attention head; no tensor tells it."""

START, END = -2, -1
"""Which words of the vocabulary, from its end, enclose a prompt. Word 0 fills what follows."""


@dataclass(frozen=True, kw_only=True)
class OpenClipConfig:
    """The sizes of OpenCLIP's text tower.

    Attributes:
        width: Channels of a token.
        blocks: In the file, of which all but the last one are used.
        heads: Of attention.
        words: In the vocabulary.
        tokens: In a prompt, what fills it included.
    """

    width: int
    blocks: int
    heads: int
    words: int
    tokens: int


def read_open_clip_config(
    shapes: Mapping[str, Shape], prefix: str, *, head_width: int = HEAD_WIDTH
) -> OpenClipConfig:
    """Read the sizes of a text tower in the original names.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    blocks = f"{prefix}transformer.resblocks."
    numbers = {name[len(blocks) :].split(".")[0] for name in shapes if name.startswith(blocks)}
    try:
        words, width = shapes[f"{prefix}token_embedding.weight"]
        tokens, _ = shapes[f"{prefix}positional_embedding"]
    except (KeyError, ValueError) as exc:
        raise WeightsError(f"no text encoder is under {prefix}: {exc}") from exc
    return OpenClipConfig(
        width=width,
        blocks=len(numbers),
        heads=max(width // head_width, 1),
        words=words,
        tokens=tokens,
    )


class OpenClipText(nn.Module):
    """The text tower of OpenCLIP (`open_clip.transformer`), up to its last but one block.

    Stable Diffusion 2 reads the penultimate block's tokens, after the final normalisation.
    """

    def __init__(self, config: OpenClipConfig) -> None:
        """Build the tower with unset weights; on the meta device it takes no memory."""
        super().__init__()
        self.token_embedding = nn.Embedding(config.words, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.tokens, config.width))
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            dropout=0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, config.blocks - 1, enable_nested_tensor=False)
        self.ln_final = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return `(b, tokens, width)` for `(b, tokens)` of words' numbers.

        Each token sees itself and those before it; what fills the prompt is seen like any other.
        """
        embedded = self.token_embedding(ids) + self.positional_embedding
        mask = nn.Transformer.generate_square_subsequent_mask(
            ids.shape[1], device=embedded.device, dtype=embedded.dtype
        )
        return self.ln_final(self.blocks(embedded, mask=mask, is_causal=True))

    @torch.inference_mode()
    def embed_nothing(self) -> Tensor:
        """Return the embedding of the empty prompt, `(1, tokens, width)`."""
        words = self.token_embedding.num_embeddings
        ids = torch.zeros(1, self.positional_embedding.shape[0], dtype=torch.long)
        ids[0, :2] = torch.tensor([words + START, words + END])
        return self(ids.to(self.positional_embedding.device))
