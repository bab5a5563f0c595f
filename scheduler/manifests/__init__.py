"""Readers that turn a source (folder, prefix, manifest) into rows, one format a file."""
