"""What a request brings of its own: another base, a LoRA, a textual inversion. Never trusted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from models.checkpoint.foreign import check_foreign
from models.creative.schema import CreativeRequest
from models.diffusion.bases import open_base
from models.diffusion.inversions import InversionFile, read_inversion
from models.diffusion.lora import Adapted, Lora, read_lora
from models.diffusion.stable import StableDiffusion
from models.errors import ArgumentInvalid, WeightsError

BASE, LORA, EMBEDDING = "base_model_url", "additional_lora_url", "additional_embedding_url"


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a job uses beside the operator's files.

    Attributes:
        base: A checkpoint of the right kind, not loaded yet.
        lora: All of its layers are in the model.
        ignored: How many layers were not.
        inversion: For all of the model's text encoders.
    """

    base: Path | None = None
    lora: Lora | None = None
    ignored: int = 0
    inversion: InversionFile | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The request's fields that brought anything."""
        found = {BASE: self.base, LORA: self.lora, EMBEDDING: self.inversion}
        return tuple(name for name, each in found.items() if each is not None)


@contextmanager
def blaming(field: str, path: Path) -> Iterator[None]:
    """Make what is wrong with a file the fault of the field that named it.

    Raises:
        ArgumentInvalid: Instead of a `WeightsError`, without the file's place on this machine.
    """
    try:
        yield
    except WeightsError as exc:
        reason = str(exc).replace(str(path), "the file").replace(path.name, "the file")
        raise ArgumentInvalid(f"{field}: {reason}", field=field) from exc


def read_brought(
    request: CreativeRequest,
    files: Mapping[str, Path],
    model: StableDiffusion,
    adapted: Adapted,
) -> Brought:
    """Look at all files, and read the small ones.

    Args:
        request: Named them.
        files: Where they are, by field.
        model: What they must fit.
        adapted: Its networks.

    Raises:
        ArgumentInvalid: One is damaged, hostile or made for another model; names its field.
    """
    lora, ignored = _lora(request, files, adapted)
    return Brought(
        base=_base(files, model),
        lora=lora,
        ignored=ignored,
        inversion=_inversion(request, files, model),
    )


def _base(files: Mapping[str, Path], model: StableDiffusion) -> Path | None:
    path = files.get(BASE)
    if path is not None:
        with blaming(BASE, path):
            check_foreign(path)
            with open_base(path, model.generation):
                pass
    return path


def _lora(
    request: CreativeRequest, files: Mapping[str, Path], adapted: Adapted
) -> tuple[Lora | None, int]:
    path = files.get(LORA)
    if path is None:
        return None, 0
    with blaming(LORA, path):
        check_foreign(path)
        return adapted.fitting(read_lora(path, name=stem(request.additional_lora_url)))


def _inversion(
    request: CreativeRequest, files: Mapping[str, Path], model: StableDiffusion
) -> InversionFile | None:
    path = files.get(EMBEDDING)
    if path is None:
        return None
    widths = {name: tower.width for name, tower in model.towers().items()}
    with blaming(EMBEDDING, path):
        check_foreign(path)
        return read_inversion(path, widths, name=stem(request.additional_embedding_url))


def stem(address: str | None) -> str:
    """Return the name of the file of an address, without suffix."""
    return PurePosixPath(unquote(urlsplit(address or "").path)).stem or "file"
