"""Knows the work: ledger, manifests, storage, dispatch, command line; no torch, no workers."""
