"""Prompts: tags, weights and chunks, in cases that are JSON."""

from collections.abc import Iterator

from models.diffusion.prompts import Inversion, chunks, fragments, take_tags
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, agree


def check_fragments(case: Case) -> Iterator[Comparison]:
    """Read the brackets of every prompt."""
    for each in case.config["cases"]:
        found = [list(fragment) for fragment in fragments(each["prompt"])]
        yield agree(each["prompt"], found, each["parsed"])


def check_tags(case: Case) -> Iterator[Comparison]:
    """Take the tags out of every prompt."""
    for each in case.config["cases"]:
        stripped, tags = take_tags(each["prompt"])
        networks: dict[str, list[dict[str, object]]] = {}
        for tag in tags:
            found = {"positional": list(tag.values), "named": dict(tag.named)}
            networks.setdefault(tag.kind, []).append(found)
        expected = {
            kind: [{"positional": one["positional"], "named": one["named"]} for one in found]
            for kind, found in each["networks"].items()
        }
        yield agree(each["prompt"], (stripped, networks), (each["stripped"], expected))


def check_chunks(case: Case) -> Iterator[Comparison]:
    """Lay out every prompt, whose fragments come with their tokens."""
    for each in case.config["cases"]:
        ids = {text: tokens for text, _, tokens in each["fragments"]}
        inversions = [
            Inversion(name=one["name"], ids=tuple(one["ids"]), vectors=one["vectors"])
            for one in each["embeddings"]
        ]
        found = chunks(
            fragments(each["prompt"]),
            ids.__getitem__,
            inversions=inversions,
            backtrack=each["comma_padding_backtrack"],
        )
        made = [
            {
                "tokens": list(chunk.tokens),
                "multipliers": list(chunk.weights),
                "fixes": [list(placement) for placement in chunk.placements],
            }
            for chunk in found
        ]
        yield agree(each["prompt"][:60], made, each["chunks"])
