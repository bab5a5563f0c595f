"""One load of the real 3B: random weights in a file of its size, to a network in bfloat16."""

import json
import resource
import struct
import tempfile
import time
from pathlib import Path

import torch

from models.checkpoint.strict import onto
from models.seedvr2.loading import load_dit
from models.seedvr2.schema import Variant
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.checkpoints import published_shapes

GIB = 2**30


def run(_servers: Servers) -> Report:
    """Write 6.8 GB, read them plainly and then load them, and compare the two times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dit.safetensors"
        _write(path)
        plain = _seconds(lambda: _read(path))
        anonymous = _anonymous_bytes()
        began = time.perf_counter()
        dit = load_dit(path, Variant.B3, onto("cpu", torch.bfloat16))
        seconds = time.perf_counter() - began
        held = sum(each.nbytes for each in dit.parameters())
        grown = _anonymous_bytes() - anonymous
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = (
        Figure(
            name="load the 3B, fp16 to bfloat16",
            measured=f"{seconds:.0f} s",
            baseline=f"read the file: {plain:.0f} s",
            ratio=f"{seconds / plain:.1f} x",
        ),
        Figure(
            name="memory after it, beyond what was there",
            measured=f"{grown / GIB:.2f} GiB",
            baseline=f"the network: {held / GIB:.2f} GiB",
            ratio=f"{grown / held:.3f} x",
            target="<= 1.05 x",
            met=grown <= 1.05 * held,
        ),
    )
    note = f"load_3b: peak resident, the mapped file included, {peak / GIB:.1f} GiB; load {load()}"
    return Report(figures=figures, notes=(note,))


def _write(path: Path) -> None:
    """Write a safetensors file of the published names and shapes, a tensor at a time."""
    shapes = published_shapes("seedvr2_ema_3b")
    header, stop = {}, 0
    for name, shape in shapes.items():
        start, stop = stop, stop + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    block = torch.randn(2**22).half().numpy().tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for begun in range(0, stop, len(block)):
            file.write(block[: min(len(block), stop - begun)])


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass


def _seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _anonymous_bytes() -> int:
    """Return the process's memory that no file stands behind (Linux)."""
    (line,) = (
        each for each in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in each
    )
    return int(line.split()[1]) * 1024
