"""Which devices this host has. `python -m workers.devices` prints them as JSON lines.

Asked in a process of its own: a parent that has initialised CUDA keeps a context on each GPU, and
its children could not fork.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

from models.errors import ProgramError

ASK_S = 120.0


class DevicesUnknown(ProgramError):
    """The process that looks for devices failed."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Something that runs models.

    Attributes:
        id: The torch device name, such as `cuda:0` or `cpu`.
        name: The product's, for people.
        memory_bytes: All that it has.
    """

    id: str
    name: str
    memory_bytes: int

    @property
    def dtype(self) -> str:
        """The torch dtype that models are loaded in."""
        return {"cuda": "bfloat16", "mps": "float16"}.get(self.id.partition(":")[0], "float32")


def of_host() -> list[Device]:
    """Return the accelerators of this host, or its CPU where there is none.

    Raises:
        DevicesUnknown: The process that looks for them failed.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", __name__],
        capture_output=True,
        text=True,
        timeout=ASK_S,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode != 0:
        message = f"looking for devices failed: {done.stderr[-2000:].strip()}"
        raise DevicesUnknown(message)
    return [Device(**json.loads(line)) for line in done.stdout.splitlines()]


def cpu() -> Device:
    """Return the CPU with the memory that the operating system reports."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(id="cpu", name=f"{os.cpu_count()} cores", memory_bytes=memory)


def look() -> list[Device]:
    """Find the accelerators by torch, in this process; the CPU where torch or they are missing."""
    try:
        import torch
    except ImportError:
        return [cpu()]
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [
            Device(id=f"cuda:{i}", name=each.name, memory_bytes=each.total_memory)
            for i, each in enumerate(found)
        ]
    if torch.backends.mps.is_available():
        limit = torch.mps.recommended_max_memory()
        return [Device(id="mps", name="Apple GPU", memory_bytes=limit)]
    return [cpu()]


def find(device: str) -> Device:
    """Return the device of this name.

    Raises:
        DevicesUnknown: This host has none of that name.
    """
    if device == "cpu":
        return cpu()
    found = {each.id: each for each in look()}
    if device not in found:
        message = f"device: {device!r} is not here; this host has {', '.join(found)} and cpu"
        raise DevicesUnknown(message)
    return found[device]


if __name__ == "__main__":
    for each in look():
        print(json.dumps(asdict(each)))  # noqa: T201 - the answer
