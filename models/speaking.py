"""Text that a network of transformers writes, token by token."""

from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor


def before_each_token(tick: Callable[[], None]) -> list[Callable[..., Tensor]]:
    """Return the library's `stopping_criteria` that stop nothing.

    Args:
        tick: Called before each token; may raise to stop.
    """

    def go_on(ids: Tensor, _scores: object, **_: object) -> Tensor:
        tick()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return [go_on]


def words(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return tokens as text, without the letter that the last one may have begun."""
    return tokenizer.decode(list(ids), skip_special_tokens=True).replace("\ufffd", "")
