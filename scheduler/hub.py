"""Brings published weights from the Hugging Face hub into the weights' folder, and pins them.

What the catalogue knows of a file, its digest and revision, is enforced. What it doesn't know is
noted beside the file at the first download and enforced from then on.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.catalog import ENDPOINTS
from models.checkpoint.manifest import File, Manifest, Part, Variant
from models.errors import ArgumentInvalid
from scheduler.choices import options_of
from scheduler.errors import HubUnavailable, SettingsInvalid, WeightsRefused

LOCK = "weights.lock.json"
PIECE_BYTES = 2**22
NO_HUB = "huggingface_hub is not installed; pip install 'enlarger[worker]'"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What a file was when it was first brought.

    Attributes:
        sha256: Of its bytes.
        repository: Where it came from; None for a file that was brought by hand.
        revision: The repository's commit, likewise.
    """

    sha256: str
    repository: str | None = None
    revision: str | None = None


def manifests() -> dict[str, Manifest]:
    """Return every manifest of the catalogue by its name."""
    found = (endpoint.manifest() for endpoint in ENDPOINTS.values())
    return {each.name: each for each in found if each is not None}


def manifest(name: str) -> Manifest:
    """Return a manifest by its name, or by the id of its endpoint.

    Raises:
        ArgumentInvalid: There is none.
    """
    if name in ENDPOINTS and (own := ENDPOINTS[name].manifest()) is not None:
        return own
    known = manifests()
    if name not in known:
        reason = f"name: {name!r} has no weights; those that have some are {', '.join(known)}"
        raise ArgumentInvalid(reason, field="name")
    return known[name]


def needed(
    manifest: Manifest, variant: Variant, options: Mapping[str, Mapping[str, Any]]
) -> Variant:
    """Return a variant with the parts that an operator's choices need, as workers with these do.

    Args:
        manifest: Whose.
        variant: Of it.
        options: By endpoint, as ENLARGER_OPTIONS has them.

    Raises:
        SettingsInvalid: What was chosen about the endpoint is no choice.
    """
    owner = next((each for each in ENDPOINTS.values() if each.manifest() == manifest), None)
    if owner is None:
        return variant
    return replace(variant, parts=options_of(owner, options).parts(variant))


def chosen(variant: Variant, names: tuple[str, ...]) -> list[File]:
    """Return the file of each part: one of `names` where it has one of these, else its first.

    Those that the operator has to bring come last: a pull ends at the first that is not here.

    Raises:
        ArgumentInvalid: A name is that of no file of the variant.
    """
    known = {file.name for part in variant.parts for file in part.files}
    unknown = [name for name in names if name not in known]
    if unknown:
        reason = f"file: {unknown[0]!r} is no file of {variant.name}; it has {', '.join(known)}"
        raise ArgumentInvalid(reason, field="file")
    found = (_preferred(part, names) for part in variant.parts)
    return sorted(found, key=lambda file: file.repository is None)


def _preferred(part: Part, names: tuple[str, ...]) -> File:
    return next((file for file in part.files if file.name in names), part.files[0])


def pull(file: File, folder: Path, *, progress: Callable[[int], None] = lambda _: None) -> Path:
    """Bring one file, or go on with one that broke off, and check it.

    A file that is there already is only checked.

    Args:
        file: Which.
        folder: Where to; made if it is not there.
        progress: Called with the number of bytes whose digest has been taken since the last call.

    Returns:
        The file's path.

    Raises:
        WeightsRefused: The operator has to bring it, the hub wants a token, it is not there, or its
            bytes are others than those that are known; such a file is put aside.
        HubUnavailable: The hub does not answer.
    """
    path = folder / file.name
    pins = read_pins(folder)
    pin = pins.get(file.name)
    revision = None
    if not path.is_file():
        # Another repository may hold the same file: its bytes are known, its commits are not.
        known = pin.revision if pin and pin.repository == file.repository else None
        revision = _download(file, folder, file.revision or known)
    sha256 = digest(path, progress)
    expected = file.sha256 or (pin.sha256 if pin else None)
    if expected is not None and sha256 != expected:
        aside = path.replace(path.with_name(path.name + ".refused"))
        reason = (
            f"{file.name}: its SHA-256 is {sha256}, and {expected} was expected"
            f"{f' ({file.sha256_source})' if file.sha256_source else ''}; it is now {aside}"
        )
        raise WeightsRefused(reason)
    if pin is None:
        origin = file.repository if revision else None
        pins[file.name] = Pin(sha256=sha256, repository=origin, revision=revision)
        _write_pins(folder, pins)
    return path


def _download(file: File, folder: Path, revision: str | None) -> str | None:
    """Bring a file's bytes; return the commit that they are of, if the hub says."""
    if file.repository is None:
        reason = f"{file.name} has no open address; get it from its authors and put it in {folder}"
        raise WeightsRefused(reason)
    try:
        import huggingface_hub as hub
    except ImportError as exc:
        raise SettingsInvalid(NO_HUB) from exc
    published = file.published or file.name
    inside = folder / file.name.removesuffix(published)
    with _refused(file):
        url = hub.hf_hub_url(file.repository, published, revision=revision)
        commit = hub.get_hf_file_metadata(url).commit_hash
        hub.hf_hub_download(
            file.repository, published, revision=commit or revision, local_dir=inside
        )
    return commit


@contextmanager
def _refused(file: File) -> Iterator[None]:
    """Turn what the hub's library raises into what an operator can act on."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as exc:
        reason = (
            f"{file.repository} is gated: agree to its terms on its page and set HF_TOKEN to a "
            "token of yours"
        )
        raise WeightsRefused(reason) from exc
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError) as exc:
        reason = f"{file.repository} has no {file.name}, or does not show it without HF_TOKEN"
        raise WeightsRefused(reason) from exc
    except (errors.HTTPError, OSError) as exc:  # type: ignore[attr-defined] # httpx's, re-exported
        reason = f"the hub does not give {file.name}: {exc}; what has come is kept, so try again"
        raise HubUnavailable(reason) from exc


def digest(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file's bytes."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            sha256.update(piece)
            progress(len(piece))
    return sha256.hexdigest()


def read_pins(folder: Path) -> dict[str, Pin]:
    """Return what is known of the files that were brought here before.

    Raises:
        WeightsRefused: The note of it is damaged.
    """
    path = folder / LOCK
    if not path.is_file():
        return {}
    try:
        return {name: Pin(**pin) for name, pin in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as exc:
        reason = f"{path} is damaged: {exc}; remove it if you trust the files beside it"
        raise WeightsRefused(reason) from exc


def _write_pins(folder: Path, pins: dict[str, Pin]) -> None:
    path = folder / LOCK
    part = path.with_suffix(".part")
    part.write_text(json.dumps({name: vars(pin) for name, pin in sorted(pins.items())}, indent=2))
    part.replace(path)
