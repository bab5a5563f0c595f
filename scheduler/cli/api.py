"""``enlarger api``: the HTTP interface."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535),
              help="Port to listen at; 0 takes a free one.")  # fmt: skip
def api(host: str, port: int) -> None:
    """Serve requests over HTTP until stopped; run as many as you like.

    SIGTERM lets open requests and streams come to their end, for ENLARGER_GRACE_S at the most.

    \b
    Example:
      enlarger api --host 0.0.0.0
    """
    from scheduler import logs, settings, traces
    from scheduler.api import server

    loaded = settings.load()
    logs.configure(loaded)
    traces.configure(loaded, "api")
    server.run(loaded, host=host, port=port)
