"""A sign of life for health checks that start no interpreter: a file, touched again and again.

Each long-lived process without an HTTP interface touches the file that `ENLARGER_PULSE` names. How
old it is tells anybody whether the process still turns, at the price of one `stat`. It says nothing
of PostgreSQL or Redis: their absence is waited for, and no restart would bring them back.
"""

import threading

from scheduler.errors import SettingsInvalid
from scheduler.settings import Settings

BEAT_S = 5.0
STALE_S = 60.0
"""A file older than this has lost its process: four times what the slowest toucher takes."""


def beat(settings: Settings) -> None:
    """Touch the file, if one is named.

    Raises:
        SettingsInvalid: It can't be touched.
    """
    if settings.pulse is None:
        return
    try:
        settings.pulse.touch()
    except OSError as exc:
        reason = (
            f"ENLARGER_PULSE: {settings.pulse} can't be touched: {exc.strerror}; name a file in a "
            "folder that this process may write to"
        )
        raise SettingsInvalid(reason, field="pulse") from exc


def beat_until(stop: threading.Event, settings: Settings) -> None:
    """Touch the file every few seconds until `stop` is set; raises like `beat`."""
    beat(settings)
    while not stop.wait(BEAT_S):
        beat(settings)
