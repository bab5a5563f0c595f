"""The HTTP interface: fal's queue protocol, and our own routes beside it; one router a file."""
