"""A whole system on one machine: PostgreSQL, Redis, scheduler and worker as supervised children."""
