"""A word over Redis makes a worker beat at once; a broken connection is made again."""

import threading

import pytest
import redis

from scheduler import broker
from scheduler.settings import Settings
from tests.processes import eventually
from workers import hurry
from workers.hurry import Listener


def subscribers(client: redis.Redis, settings: Settings) -> int:
    ((_, count),) = client.pubsub_numsub(settings.redis_prefix + broker.HURRY)
    return int(count)


def lines(client: redis.Redis) -> set[str]:
    return {each["id"] for each in client.client_list(_type="pubsub")}


def test_each_word_hurries_also_after_the_connection_broke(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hurry, "AGAIN_S", 0.05)
    heard = threading.Event()
    listener = Listener(settings, heard.set)
    with broker.connect(settings) as client:
        listener.start()
        eventually(lambda: subscribers(client, settings) == 1)
        broker.hurry_workers(client, settings)
        assert heard.wait(10)

        heard.clear()
        broken = lines(client)
        client.client_kill_filter(_type="pubsub")
        eventually(lambda: lines(client) and not lines(client) & broken, within_s=10)
        eventually(lambda: subscribers(client, settings) == 1, within_s=10)
        broker.hurry_workers(client, settings)
        assert heard.wait(10)
        listener.stop()

        eventually(lambda: subscribers(client, settings) == 0, within_s=10)
