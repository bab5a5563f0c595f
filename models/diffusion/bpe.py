"""CLIP's byte pair encoding, from the merges that ship in the package.

`clip_merges.txt.gz` holds the merges of OpenAI's CLIP (github.com/openai/CLIP, MIT licence) that
its vocabulary is made of: 48,894 pairs, the most frequent first.
"""

import gzip
from collections.abc import Callable
from importlib import resources

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

WORD_END = "</w>"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
"""The last two of the 49,408 tokens."""
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What is encoded piece by piece: endings, words, single digits, runs of anything else."""


def clip_tokenizer() -> Callable[[str], list[int]]:
    """Return what turns a text of any length into tokens, without start and end."""
    data = resources.files("models.diffusion").joinpath("clip_merges.txt.gz").read_bytes()
    pairs = [line.split(" ") for line in gzip.decompress(data).decode().splitlines()]
    merges = [(first, second) for first, second in pairs]
    symbols = _alphabet()
    ends = [symbol + WORD_END for symbol in symbols]
    tokens = [*symbols, *ends, *map("".join, merges), *SPECIAL]
    encoding = models.BPE(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        end_of_word_suffix=WORD_END,
    )
    tokenizer = Tokenizer(encoding)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )

    def tokenize(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text).ids
        return ids

    return tokenize


def _alphabet() -> list[str]:
    """Return the 256 characters that stand for bytes, in the vocabulary's order.

    Printable bytes stand for themselves and come first; the others are characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = range(0x100, 0x200 - len(printable))
    return [chr(number) for number in (*printable, *others)]
