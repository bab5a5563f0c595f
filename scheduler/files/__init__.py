"""Files of requests over HTTP: what clients hand in, and what becomes public of their results.

Bytes lie under their own digest below ENLARGER_FILES, and each file that was handed in is a row
that refers to them. Ids can be guessed; every address carries a secret beside the id.
"""
