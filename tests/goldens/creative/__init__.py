"""Creative's cases: our own definition of what each parameter drives."""

from tests.goldens.creative.mapping import check_map

CHECKS = {"parameter_map": check_map}
