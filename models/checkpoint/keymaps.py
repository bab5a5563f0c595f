"""From a published tensor's name to a module's: tables, applied in order."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Keymap: TypeAlias = Callable[[str], str]


def rename(table: Sequence[tuple[str, str]]) -> Keymap:
    """Return a key map that makes each of the table's replacements, in order.

    Args:
        table: Pairs of a regular expression and what takes the place of its matches.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in table]

    def renamed(name: str) -> str:
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        return name

    return renamed


def unchanged(name: str) -> str:
    """Return a name as it is."""
    return name


ATTENTION = rename(
    (
        (r"\.query\.(weight|bias)$", r".to_q.\1"),
        (r"\.key\.(weight|bias)$", r".to_k.\1"),
        (r"\.value\.(weight|bias)$", r".to_v.\1"),
        (r"\.proj_attn\.(weight|bias)$", r".to_out.0.\1"),
    )
)
"""The names of an autoencoder's attention before diffusers 0.17, in those since."""


def by_prefix(maps: Mapping[str, tuple[str, Keymap]]) -> Keymap:
    """Return a key map for a file of several networks.

    Args:
        maps: By the beginning of a network's names in the file: what takes its place, and the map
            of the rest. Names that begin otherwise stay as they are.
    """

    def renamed(name: str) -> str:
        for prefix, (ours, keymap) in maps.items():
            if name.startswith(prefix):
                return ours + keymap(name.removeprefix(prefix))
        return name

    return renamed
