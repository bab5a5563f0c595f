"""Which names of a listing are meant: patterns as the shell has them."""

import re
from collections.abc import Sequence
from fnmatch import translate

from scheduler.manifests.rows import IMAGE_SUFFIXES


class Globs:
    """Chooses names by patterns, with ``*``, ``?`` and ``[...]``, in the case as written.

    A pattern is held against the name's last part and against the whole relative path; its ``*``
    goes across slashes. Without `include`, every name with an image's suffix is meant, in either
    case of letters; `exclude` always has the last word.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [re.compile(translate(pattern)) for pattern in include]
        self._exclude = [re.compile(translate(pattern)) for pattern in exclude]
        self._written = ", ".join(include) or " ".join(IMAGE_SUFFIXES)

    def __str__(self) -> str:
        return self._written

    def match(self, relative: str) -> bool:
        """Whether a name, relative to the listed folder, is meant."""
        if self._include:
            wanted = _any(self._include, relative)
        else:
            wanted = relative.lower().endswith(IMAGE_SUFFIXES)
        return wanted and not (self._exclude and _any(self._exclude, relative))


def _any(patterns: Sequence[re.Pattern[str]], relative: str) -> bool:
    base = relative.rpartition("/")[2]
    return any(pattern.match(relative) or pattern.match(base) for pattern in patterns)
