"""deploy/Caddyfile in a real Caddy, and programs that find fal's names there."""

import os
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import randrange

from tests.processes import eventually

CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
CADDYFILE = Path(__file__).parents[2] / "deploy" / "Caddyfile"
NAMES = ("fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media")
PORT = 443


@dataclass(frozen=True, kw_only=True)
class Front:
    """A front that serves fal's names.

    Attributes:
        hosts: What /etc/hosts says where its names are known.
        authority: The certificate of the authority that signed its own.
    """

    hosts: Path
    authority: Path

    def found_by(self, *command: str) -> list[str]:
        """Return a command that, other than all else on this machine, finds fal's names here."""
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.hosts), *command]


@contextmanager
def front(api: str, folder: Path) -> Iterator[Front]:
    """Run Caddy for a block, on a loopback address of its own, where port 443 is free.

    Args:
        api: Host and port of the API behind it.
        folder: For its files.
    """
    address = f"127.{randrange(16, 255)}.{randrange(255)}.{randrange(1, 255)}"
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {' '.join(NAMES)}\n")
    with (folder / "caddy.log").open("wb") as log:
        running = subprocess.Popen(
            [CADDY, "run", "--config", _adapted(address, api, folder), "--adapter", "caddyfile"],
            env={"PATH": os.environ["PATH"], "XDG_DATA_HOME": str(folder), "HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            eventually(lambda: _answers(address, running, folder / "caddy.log"))
            local = folder / "caddy" / "pki" / "authorities" / "local"
            yield Front(hosts=hosts, authority=local / "root.crt")
        finally:
            running.terminate()
            running.wait(20)


def _adapted(address: str, api: str, folder: Path) -> Path:
    """Write the file as it is, but for the addresses."""
    text = CADDYFILE.read_text()
    for old, new in (
        ("\tadmin off\n", f"\tadmin off\n\tdefault_bind {address}\n"),
        ("reverse_proxy api:8000 ", f"reverse_proxy {api} "),
        ("\tbind 127.0.0.1\n", f"\tbind {address}\n"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "Caddyfile"
    path.write_text(text)
    return path


def _answers(address: str, running: subprocess.Popen[bytes], log: Path) -> bool:
    assert running.poll() is None, log.read_text()
    with socket.socket() as connection:
        return connection.connect_ex((address, PORT)) == 0
