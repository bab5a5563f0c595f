"""The embedded prompt that the project ships."""

from collections.abc import Iterator

from models.seedvr2.prompt import read_prompt
from tests.goldens.case import Case
from tests.goldens.comparison import EXACT, Comparison, compare, skip


def check_prompt(case: Case) -> Iterator[Comparison]:
    """Hold what is shipped against the published values."""
    yield compare("pos_emb", read_prompt(), case.other["pos_emb"], EXACT)
    yield skip("neg_emb", "the published models are distilled without guidance")
