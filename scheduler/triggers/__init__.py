"""Bucket events become jobs: rules, the events' documents, intake, queues, receiver, backfill."""
