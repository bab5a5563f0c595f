"""Opens published weights without reading them: tensors come one at a time, by name.

safetensors holds no code. Pickles (`.pth`, `.pt`, `.ckpt`) are read by torch's weights-only
unpickler, which knows tensors and plain containers and refuses everything else.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.errors import WeightsError

WRAPPERS = ("state_dict", "params_ema", "params")
"""Where a pickle may keep its tensors: Lightning's name, then BasicSR's."""

PARALLEL = "module."
"""What torch's DataParallel puts before every name."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""safetensors' names of element types."""


Shape: TypeAlias = tuple[int, ...]


class Checkpoint(Protocol):
    """An open file of named tensors.

    Attributes:
        path: The file.
        shapes: Of every tensor, by name; known without reading any.
        dtypes: Likewise.
    """

    path: Path
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, torch.dtype]

    def read(self, name: str) -> Tensor:
        """Return one tensor, on the CPU, mapped from the file: copy it before the file closes."""
        ...


class _Safetensors:
    """A safetensors file; the library maps it."""

    def __init__(self, path: Path, file: Any) -> None:  # noqa: ANN401 - the library has no types
        self.path = path
        self._file = file
        slices = {name: file.get_slice(name) for name in file.offset_keys()}
        self.shapes: Mapping[str, Shape] = {
            name: tuple(each.get_shape()) for name, each in slices.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: _dtype(path, each.get_dtype()) for name, each in slices.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._file.get_tensor(name)


class _Pickle:
    """A pickle's tensors, which torch maps from the file."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self._tensors = tensors
        self.shapes: Mapping[str, Shape] = {
            name: tuple(tensor.shape) for name, tensor in tensors.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: tensor.dtype for name, tensor in tensors.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._tensors[name]


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a `.safetensors`, `.pth`, `.pt` or `.ckpt` file.

    Raises:
        WeightsError: It is missing, damaged, of another kind, or a pickle of more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not there")
    opened: Checkpoint
    with ExitStack() as stack:
        with _refused(path):
            if path.suffix == ".safetensors":
                opened = _Safetensors(path, stack.enter_context(safe_open(path, framework="pt")))
            else:
                opened = _Pickle(path, _tensors(path, _unpickled(path)))
        yield opened


def _unpickled(path: Path) -> object:
    """Read a pickle; one in the format before torch 1.6 can't be mapped and is read whole."""
    return torch.load(
        path, map_location="cpu", mmap=True if zipfile.is_zipfile(path) else None, weights_only=True
    )


def _tensors(path: Path, found: object) -> Mapping[str, Tensor]:
    """Unwrap what a pickle holds.

    Raises:
        WeightsError: Nothing in it is a table of tensors.
    """
    while isinstance(found, Mapping):
        wrapper = next((each for each in WRAPPERS if isinstance(found.get(each), Mapping)), None)
        if wrapper is None:
            break
        found = found[wrapper]
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} holds {type(found).__name__}, not tensors by name")
    tensors = {str(name): each for name, each in found.items() if isinstance(each, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors")
    inflated = [name for name, each in tensors.items() if is_inflated(each)]
    if inflated:
        raise WeightsError(f"{path}: {inflated[0]} has more numbers than the file holds of it")
    if all(name.startswith(PARALLEL) for name in tensors):
        return {name.removeprefix(PARALLEL): each for name, each in tensors.items()}
    return tensors


def is_inflated(tensor: Tensor) -> bool:
    """Tell whether a tensor repeats what it is stored as; copies could be of any size."""
    return tensor.nbytes > tensor.untyped_storage().nbytes()


def _dtype(path: Path, name: str) -> torch.dtype:
    if name not in DTYPES:
        raise WeightsError(f"{path} has tensors of the type {name}, which is not read")
    return DTYPES[name]


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a bad file into what an operator can act on."""
    try:
        yield
    except pickle.UnpicklingError as exc:
        message = (
            f"{path} is damaged, or holds more than tensors and was not opened, since unpickling "
            "runs code; pull it again, or get a safetensors file instead"
        )
        raise WeightsError(message) from exc
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as exc:
        message = f"{path} is damaged or not complete ({_first_line(exc)}); pull it again"
        raise WeightsError(message) from exc


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
