"""Knows the work: ledger, manifests, storage, dispatch, command line. Never imports torch or workers."""
