"""Notices a worker that is alive and does nothing, so that it can be replaced."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from scheduler import broker, pulse
from scheduler.errors import BrokerUnavailable
from scheduler.settings import Settings

log = structlog.get_logger()

LOOK_S = 15.0
STALLED_S = 300.0
"""Longer than kombu's own watchdogs take to replace a dead connection."""


class Liveness:
    """Watches from a thread of its own. Each sign is cheap, and each has been seen in the field.

    - Celery's loop does not go round, or the heartbeat has ended.
    - A job has had the device for longer than any may run: it hangs, and all others behind it.
    - Nothing has come for minutes though messages wait: a consumer that came back from a lost
      connection without consuming.
    """

    def __init__(
        self,
        settings: Settings,
        queues: Sequence[str],
        *,
        turned_at: Callable[[], float],
        beats: Callable[[], bool],
        idle_s: Callable[[], float],
        on_device_s: Callable[[], float],
        stalled: Callable[[], None],
    ) -> None:
        """Watch nothing yet.

        Args:
            settings: For Redis.
            queues: That this worker consumes from.
            turned_at: When Celery's loop last went round, by the monotonic clock.
            beats: Whether the heartbeat's thread lives.
            idle_s: For how long no bundle has been here.
            on_device_s: For how long one job has had the device.
            stalled: Called once, when it is time to go.
        """
        self._lists = [settings.redis_prefix + queue for queue in queues]
        self._settings = settings
        self._client = broker.connect(settings)
        self._turned_at = turned_at
        self._beats = beats
        self._idle_s = idle_s
        self._on_device_s = on_device_s
        self._longest_job_s = settings.job_deadline_s
        self._stalled = stalled
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def reason_to_go(self) -> str | None:
        """Say what is wrong, or None."""
        if not self._beats():
            return "the heartbeat's thread has ended"
        silent_s = time.monotonic() - self._turned_at()
        if silent_s > STALLED_S:
            return f"Celery's loop has not gone round for {silent_s:.0f} s"
        on_device_s = self._on_device_s()
        if on_device_s > self._longest_job_s:
            return f"one job has had the device for {on_device_s:.0f} s"
        idle_s = self._idle_s()
        if idle_s > STALLED_S and self._messages_wait():
            return f"nothing has come for {idle_s:.0f} s, though messages wait"
        return None

    def _messages_wait(self) -> bool:
        try:
            with broker.unavailable_mapped():
                return any(self._client.llen(name) for name in self._lists)
        except BrokerUnavailable:
            return False

    def _run(self) -> None:
        pulse.beat(self._settings)
        while not self._stopping.wait(LOOK_S):
            reason = self.reason_to_go()
            if reason is not None:
                log.error("worker.stalled", reason=reason)
                self._stalled()
                return
            pulse.beat(self._settings)
