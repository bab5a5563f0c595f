"""``python -m workers.weights_check NAME VARIANT…``: are these weights good, and do they fit here?

Prints JSON findings for ``enlarger weights check``, which must not load what only workers need.
"""

import gc
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from models import catalog
from models.catalog import Endpoint
from models.checkpoint.manifest import LocalWeights, Manifest, Variant
from models.checkpoint.open import open_checkpoint
from models.errors import WeightsError
from models.upscaler import Upscaler
from scheduler import hub, settings
from workers import mirror
from workers.devices import Device, look
from workers.stock import Stock

GIGABYTE = 10**9
CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""Suffixes of files with tensors by name; others are tokenizers, settings and the like."""


class Finding(NamedTuple):
    """What one look at a variant found."""

    variant: str
    check: str
    ok: bool
    detail: str


def findings(
    stock: Stock, endpoint: Endpoint, manifest: Manifest, variant: Variant, device: Device
) -> Iterator[Finding]:
    """Yield what there is to say of a variant; what builds on a fault is left out."""
    try:
        weights = stock.weights(f"{endpoint.id}{catalog.MARK}{variant.name}")
    except WeightsError as exc:
        yield Finding(variant.name, "files", False, str(exc))
        return
    assert weights is not None, "the endpoint has a manifest"
    names = ", ".join(path.name for path in weights.files.values())
    yield Finding(variant.name, "files", True, names)
    assert stock.folder is not None, "files were found in it"
    yield from _digests(variant, weights, stock.folder / manifest.name)
    loaded = _loaded(stock, endpoint, weights, device)
    yield loaded
    if not loaded.ok:
        return
    size, room = _size_on(device, weights), device.memory_bytes
    detail = (
        f"{size / GIGABYTE:.1f} GB in {device.dtype} before any option that saves memory, "
        f"{device.id} has {room / GIGABYTE:.1f} GB"
    )
    yield Finding(variant.name, "device", size < room, detail)


def _size_on(device: Device, weights: LocalWeights) -> int:
    """Return the bytes of all tensors in the dtype that the device's models are loaded in."""
    import torch

    each = getattr(torch, device.dtype).itemsize
    return int(sum(_values(path) for path in weights.files.values()) * each)


def _values(path: Path) -> int:
    """Count the values of a file's tensors; what holds no tensors by name is small."""
    if path.suffix not in CHECKPOINTS:
        return 0
    with open_checkpoint(path) as checkpoint:
        return sum(math.prod(shape) for shape in checkpoint.shapes.values())


def _digests(variant: Variant, weights: LocalWeights, folder: Path) -> Iterator[Finding]:
    """Compare each file's bytes with what is known of them."""
    known = {file.name: file.sha256 for part in variant.parts for file in part.files}
    pins = hub.read_pins(folder)
    for path in weights.files.values():
        name = path.relative_to(folder).as_posix()
        pin = pins.get(name)
        expected = known.get(name) or (pin.sha256 if pin else None)
        found = hub.digest(path)
        detail = f"{name}: {found}"
        if expected is None:
            yield Finding(variant.name, "sha256", True, f"{detail}, which nobody knew before")
        else:
            wrong = f" and not {expected}" if found != expected else ""
            yield Finding(variant.name, "sha256", found == expected, detail + wrong)


def _loaded(stock: Stock, endpoint: Endpoint, weights: LocalWeights, device: Device) -> Finding:
    """Load the pipeline on the CPU as a worker would: names, shapes and numbers are checked."""
    pipeline: type[Upscaler] = catalog.load(endpoint.pipeline)
    options = stock.options(endpoint)
    try:
        pipeline.load(weights, options=options, device="cpu", dtype=device.dtype)
    except WeightsError as exc:
        return Finding(weights.variant, "tensors", False, str(exc))
    gc.collect()
    detail = f"every tensor is there and holds numbers ({device.dtype})"
    return Finding(weights.variant, "tensors", True, detail)


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Return the findings for a manifest's name and some of its variants."""
    name, *variants = arguments
    loaded = settings.load()
    folder: Path | None = mirror.local_copy(loaded)
    stock = Stock(endpoints=catalog.ENDPOINTS, folder=folder, chosen=loaded.options)
    manifest = hub.manifest(name)
    endpoint = next(each for each in catalog.ENDPOINTS.values() if each.manifest() == manifest)
    device = look()[0]
    return [
        finding._asdict()
        for variant in variants
        for finding in findings(stock, endpoint, manifest, manifest.variant(variant), device)
    ]


if __name__ == "__main__":
    json.dump(main(sys.argv[1:]), sys.stdout)
