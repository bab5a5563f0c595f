"""The command ``enlarger``; every command imports what it needs when it runs."""

from scheduler.cli.group import main

__all__ = ["main"]
