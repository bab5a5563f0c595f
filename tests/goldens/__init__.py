"""Reference values of upstream implementations: read, recomputed by the project, compared.

`python -m tests.goldens MODEL FILE...` checks files; the tests call the same functions.
"""
