"""One network's tensors that were published in several files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoint.open import Checkpoint, Shape, open_checkpoint


class Joined:
    """Open files as if they were one; it is called by the first."""

    def __init__(self, pieces: Sequence[Checkpoint]) -> None:
        """Read names and shapes; of a name that comes twice the last one counts."""
        self.path = pieces[0].path
        self._holders = {name: piece for piece in pieces for name in piece.shapes}
        self.shapes: Mapping[str, Shape] = {
            name: holder.shapes[name] for name, holder in self._holders.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: holder.dtypes[name] for name, holder in self._holders.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        return self._holders[name].read(name)


@contextmanager
def open_shards(paths: Sequence[Path]) -> Iterator[Joined]:
    """Open all files of a network.

    Raises:
        WeightsError: One is missing, damaged, or of another kind.
    """
    with ExitStack() as stack:
        yield Joined([stack.enter_context(open_checkpoint(path)) for path in paths])
