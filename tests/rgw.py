"""Ceph's S3 gateway with a cluster of one in memory, wherever Debian's packages are installed.

Unlike moto it checks signatures, and it answers as a store with a distributed database behind it.
"""

import os
import secrets
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from scheduler.children import Child, Supervisor
from scheduler.embedded.redis import free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
HOST = "127.0.0.1"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
COMMAND_S = 60.0
CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = [v1:{host}:{mon_port}]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_bind_msgr2 = false
public_addr = {host}
cluster_addr = {host}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 2147483648
mon_data = {folder}/mon
osd_data = {folder}/osd
run_dir = {folder}
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
admin_socket = {folder}/$name.$pid.asok
rgw_frontends = beast endpoint={host}:{port}
"""
"""`$pid`: else radosgw-admin would take the gateway's socket for its own."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway and its only user."""

    url: str
    access_key: str
    secret_key: str


def missing_programs() -> list[str]:
    """Name what is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def serve(folder: Path) -> Iterator[Gateway]:
    """Run a monitor, a store in memory and a gateway in a folder."""
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    port = free_port()
    fsid, mon_port = str(uuid.uuid4()), free_port()
    conf = folder / "ceph.conf"
    conf.write_text(
        CONFIGURATION.format(fsid=fsid, host=HOST, mon_port=mon_port, port=port, folder=folder)
    )
    map_ = str(folder / "monmap")
    address = f"[v1:{HOST}:{mon_port}]"
    _run(conf, "monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, map_)
    _run(conf, "ceph-mon", "--mkfs", "-i", "a", "--monmap", map_)
    gateway = Gateway(
        url=f"http://{HOST}:{port}",
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_hex(20),
    )
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        supervisor.start(_daemon(conf, "ceph-mon", "-i", "a"))
        osd = str(uuid.uuid4())
        # Both get the same id, or the store never counts as up, and the gateway hangs.
        _run(conf, "ceph", "osd", "new", osd)
        _run(conf, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        supervisor.start(_daemon(conf, "ceph-osd", "-i", "0"))
        supervisor.start(_daemon(conf, "radosgw", "-n", "client.rgw", ready_at=gateway.url))
        user = ("--uid", "test", "--display-name", "test")
        keys = ("--access-key", gateway.access_key, "--secret-key", gateway.secret_key)
        _run(conf, "radosgw-admin", "user", "create", *user, *keys)
        yield gateway


def _run(conf: Path, program: str, *arguments: str) -> None:
    subprocess.run(
        [program, "-c", str(conf), *arguments],
        env=ENVIRONMENT,
        check=True,
        timeout=COMMAND_S,
        stdout=subprocess.DEVNULL,
    )


def _daemon(conf: Path, program: str, *arguments: str, ready_at: str | None = None) -> Child:
    return Child(
        name=program,
        command=(program, "-f", "-c", str(conf), *arguments),
        env=ENVIRONMENT,
        log=conf.parent / f"{program}-output.log",
        ready=None if ready_at is None else lambda: _answers(ready_at),
        grace_s=2.0,
    )


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False


@pytest.fixture(scope="session")
def rgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Ceph's gateway; skips where it is not installed, which only root can do."""
    absent = missing_programs()
    if absent:
        pytest.skip(f"{', '.join(absent)}: not installed; CONTRIBUTING.md says how")
    with serve(tmp_path_factory.mktemp("rgw")) as gateway:
        yield gateway
