"""``enlarger/compact``: the built-in super-resolution network, which needs no download."""
