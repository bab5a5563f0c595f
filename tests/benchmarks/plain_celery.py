"""The baseline: Celery as anybody would use it, no-op tasks on a pool of threads.

Run as `python -m tests.benchmarks.plain_celery REDIS_URL THREADS` it is the worker.
"""

import sys

from celery import Celery

PREFIX = "plain:"
QUEUE = "plain"


def make_app(redis_url: str) -> Celery:
    """Return an app with one task, `noop`, set up for speed: no results, no events."""
    app = Celery("plain", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_default_queue=QUEUE,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": PREFIX},
    )

    @app.task(name="noop", shared=False)
    def noop(_id: str) -> None:
        """Do nothing."""

    return app


if __name__ == "__main__":
    options = "--pool=threads --without-gossip --without-mingle --without-heartbeat"
    make_app(sys.argv[1]).worker_main(
        ["worker", *options.split(), f"--concurrency={sys.argv[2]}", "--loglevel=WARNING"]
    )
