"""Hears from Redis that somebody waits for the heartbeat's answer: a cancellation of what runs.

Only a hint: a word that is lost costs the time until the next beat.
"""

import threading
from collections.abc import Callable

from scheduler import broker
from scheduler.settings import Settings

LOOK_S = 1.0
"""How long a word is waited for before looking whether to stop."""
PAUSE_S = 0.2
"""After a word: whoever cancels a hundred requests makes few beats of them."""
AGAIN_S = 5.0
"""Pause before another try while Redis is away."""


class Listener:
    """Calls `hurry` at each word, on a thread of its own."""

    def __init__(self, settings: Settings, hurry: Callable[[], None]) -> None:
        self._settings = settings
        self._hurry = hurry
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hurry", daemon=True)

    def start(self) -> None:
        """Listen in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        self._thread.join(2 * LOOK_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except broker.UNAVAILABLE:
                self._stopping.wait(AGAIN_S)

    def _listen(self) -> None:
        with (
            broker.connect(self._settings) as client,
            client.pubsub(ignore_subscribe_messages=True) as line,
        ):
            line.subscribe(self._settings.redis_prefix + broker.HURRY)
            while not self._stopping.is_set():
                if line.get_message(timeout=LOOK_S) is not None:
                    self._hurry()
                    self._stopping.wait(PAUSE_S)
