"""An acknowledgement that Redis does not get is a lost connection, and has to count as one.

Celery logs "Couldn't ack" and goes on. The message keeps its place among those that this worker
may hold, and with all places taken the worker asks for no more: it would never even notice that the
connection is gone, and be deaf for good (seen after a restart of Redis with celery 5.7).
"""

import logging

from celery.worker.request import Request

log = logging.getLogger(__name__)


class Acknowledging(Request):
    """A request whose failing acknowledgement reaches Celery's loop, which then connects anew.

    The new connection starts with no places taken. The message itself may come a second time, and
    wins nothing then.
    """

    def acknowledge(self) -> None:
        """Acknowledge the message, and hide no error."""
        if not self.acknowledged:
            self.on_ack(log, ())  # the errors that would be logged and forgotten: none
            self.acknowledged = True
