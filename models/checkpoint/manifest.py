"""What files an endpoint needs, where they are published, and under which terms. Torch-free.

A *variant* is what stays on a device together. It has *parts*, and each part has one or several
*files* that hold the same network: the original, conversions to half precision. Any one will do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import ArgumentInvalid


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The terms of a file.

    Attributes:
        name: SPDX's, where it has one.
        url: Where it can be read.
        free: Anybody may use what it covers for anything; others ask for a yes before a download.
    """

    name: str
    url: str
    free: bool


@dataclass(frozen=True, kw_only=True)
class File:
    """A published file.

    Attributes:
        name: In the repository, and in the local folder.
        repository: On the Hugging Face hub; None where the operator brings the file.
        licence: Its terms.
        revision: A commit; None for the newest, which the first download then fixes.
        sha256: Of its bytes; None where it is not known, until the first download fixes it.
        sha256_source: Who says so, where it is not the publisher.
        size_bytes: Where it is known.
        published: Its name in the repository, where its local one has more folders before it.
    """

    name: str
    repository: str | None
    licence: Licence
    revision: str | None = None
    sha256: str | None = None
    sha256_source: str | None = None
    size_bytes: int | None = None
    published: str | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network, and the files that may hold it; the first is what `weights pull` brings."""

    name: str
    files: tuple[File, ...]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is resident together, under the name that requests and commands use."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An endpoint's weights.

    Attributes:
        name: What people call them, as in `enlarger weights pull seedvr`; also the folder's name.
        variants: The first is the default.
    """

    name: str
    variants: tuple[Variant, ...]

    def variant(self, name: str | None) -> Variant:
        """Return a variant by its name; the default one for None.

        Raises:
            ArgumentInvalid: There is none of this name.
        """
        if name is None:
            return self.variants[0]
        found = {each.name: each for each in self.variants}
        if name not in found:
            message = f"variant: {self.name} has no {name!r}; it has {', '.join(found)}"
            raise ArgumentInvalid(message, field="variant")
        return found[name]


@dataclass(frozen=True, kw_only=True)
class LocalWeights:
    """A variant's files on this machine.

    Attributes:
        variant: Its name.
        files: The file of each part that the operator's choices need, by the part's name.
    """

    variant: str
    files: Mapping[str, Path]

    @property
    def size_bytes(self) -> int:
        """Of all files: roughly what loading them takes."""
        return sum(path.stat().st_size for path in self.files.values())


def look(parts: Sequence[Part], folder: Path) -> dict[str, Path]:
    """Return the file of each part that is in a folder; parts without one are left out."""
    found = {}
    for part in parts:
        paths = (folder / file.name for file in part.files)
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found[part.name] = path
    return found


def lacking(parts: Sequence[Part], found: Mapping[str, Path]) -> Sequence[Part]:
    """Return the parts that no file was found for."""
    return [part for part in parts if part.name not in found]
