"""CCSR: content-consistent super-resolution, version 1."""
