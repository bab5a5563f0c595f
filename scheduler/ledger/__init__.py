"""The Postgres ledger: the one place that knows what was asked, what runs and how it ended."""
