"""From the three ways in which checkpoints name RRDBNet's tensors to the network."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from models.checkpoint.keymaps import rename
from models.checkpoint.open import Checkpoint, Shape, open_checkpoint
from models.checkpoint.strict import assign, onto
from models.errors import WeightsError
from models.esrgan.network import RrdbNet, Sizes

NAMES = rename(
    (
        # The first releases, and most community models: layers by number.
        (r"^model\.0\.", "conv_first."),
        (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
        (r"^model\.1\.sub\.\d+\.", "conv_body."),
        (r"^model\.3\.", "conv_up1."),
        (r"^model\.6\.", "conv_up2."),
        (r"^model\.8\.", "conv_hr."),
        (r"^model\.10\.", "conv_last."),
        # ESRGAN's release.
        (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
        (r"^trunk_conv\.", "conv_body."),
        (r"^upconv(\d)\.", r"conv_up\1."),
        (r"^HRconv\.", "conv_hr."),
    )
)
"""To Real-ESRGAN's names, which stay as they are."""

SHRINKS = {3: 1, 12: 2, 48: 4}
"""How far pixels are folded into channels, by the first convolution's inputs."""


def load_network(path: Path, *, device: str, dtype: torch.dtype) -> RrdbNet:
    """Load any network of the family: its tensors say how large it is, and how they are named.

    Raises:
        WeightsError: The file is missing, damaged, or of another architecture.
    """
    with open_checkpoint(path) as checkpoint:
        return fill(checkpoint, device=device, dtype=dtype)


def fill(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype) -> RrdbNet:
    """Build the network of an open checkpoint.

    Raises:
        WeightsError: Its tensors are of another architecture.
    """
    named = {NAMES(name): shape for name, shape in checkpoint.shapes.items()}
    with torch.device("meta"):
        network = RrdbNet(read_sizes(named, checkpoint.path))
    assign(network, checkpoint, place=onto(device, dtype), keymap=NAMES)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def read_sizes(shapes: Mapping[str, Shape], path: Path) -> Sizes:
    """Tell a network's sizes by its tensors.

    Raises:
        WeightsError: They are of no RRDBNet.
    """
    blocks = [int(found[1]) for name in shapes if (found := re.match(r"body\.(\d+)\.", name))]
    try:
        features, seen = shapes["conv_first.weight"][:2]
        growth = shapes["body.0.rdb1.conv1.weight"][0]
        shrink = SHRINKS[seen]
    except (KeyError, IndexError, ValueError) as exc:
        message = (
            f"{path} holds no RRDBNet by 4, 2 or 1: {exc} is not there; give a checkpoint of "
            "ESRGAN, Real-ESRGAN or a community model of that family"
        )
        raise WeightsError(message) from exc
    return Sizes(features=features, growth=growth, blocks=max(blocks) + 1, shrink=shrink)
