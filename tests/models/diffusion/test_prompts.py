import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diffusion.bpe import clip_tokenizer
from models.diffusion.prompts import END, ROOM, START, Inversion, chunks, fragments, take_tags

CASES = Path(__file__).parents[2] / "data" / "clarity" / "prompt_chunks.json"
TOKENIZE = clip_tokenizer()


def test_texts_become_the_tokens_of_clip_s_own_encoding():
    cases = json.loads(CASES.read_text())["cases"]
    pairs = [(text, ids) for case in cases for text, _, ids in case["fragments"]]

    assert len(pairs) > 30
    assert [TOKENIZE(text) for text, _ in pairs] == [ids for _, ids in pairs]


def test_case_and_blanks_mean_nothing_to_the_encoding():
    assert TOKENIZE("A  Cat\n") == TOKENIZE("a cat") == [320, 2368]
    assert TOKENIZE("") == []


@given(st.text(max_size=300))
def test_any_text_can_be_laid_out(prompt):
    found = chunks(fragments(take_tags(prompt)[0]), TOKENIZE)

    assert found
    for chunk in found:
        assert len(chunk.tokens) == len(chunk.weights) == ROOM + 2
        assert (chunk.tokens[0], chunk.tokens[-1]) == (START, END)


@given(st.text(alphabet="ab ()[]:\\,.12<>", max_size=40))
def test_no_arrangement_of_brackets_is_an_error_or_loses_a_letter(prompt):
    text = "".join(fragment.text for fragment in fragments(prompt))

    assert text.count("a") == prompt.count("a")


def test_a_weight_that_is_no_number_is_text():
    assert fragments("(a:1.2.3)")[0].text.startswith("a:1.2.3")


@pytest.mark.parametrize("count", [1, 75])
def test_an_inversion_is_never_parted_between_chunks(count):
    word = Inversion(name="word", ids=tuple(TOKENIZE("castle")), vectors=count)

    found = chunks(fragments("tree " * 40 + "castle"), TOKENIZE, inversions=[word])

    placed = [(n, place) for n, chunk in enumerate(found) for place in chunk.placements]
    assert placed == [(0, (40, "word"))] if count == 1 else [(1, (0, "word"))]
