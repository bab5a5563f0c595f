"""The command ``enlarger``; every command imports what it needs when it runs."""
