"""``python -m scheduler.cli`` is ``enlarger``."""

from scheduler.cli import main

main(prog_name="enlarger")
