"""The text encoder with weighted tokens and textual inversions."""

from collections.abc import Iterator

from models.diffusion.clip import ClipText, TowerConfig
from models.diffusion.conditioning import embed
from models.diffusion.prompts import Chunk, Placement
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, compare

FLOAT32 = Tolerance(absolute=1e-5, relative=1e-5)
PREFIX = "text_model."


def check_embeddings(case: Case) -> Iterator[Comparison]:
    """Encode chunks, and weigh them."""
    sizes = case.config["clip"]
    config = TowerConfig(
        width=sizes["hidden_size"],
        inner=sizes["intermediate_size"],
        layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        quick=sizes["hidden_act"] == "quick_gelu",
    )
    places = sizes["max_position_embeddings"]
    tower = ClipText(config, words=sizes["vocab_size"], places=places)
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in case.weights.items()}
    weights.pop("embeddings.position_ids", None)
    tower.load_state_dict(weights, strict=True)
    chunks = [
        Chunk(
            tokens=tuple(tokens),
            weights=tuple(multipliers),
            placements=tuple(Placement(*each) for each in fixes),
        )
        for tokens, multipliers, fixes in zip(
            case.inputs["tokens"].tolist(),
            case.inputs["multipliers"].tolist(),
            case.config["fixes"],
            strict=True,
        )
    ]
    vectors = {name: case.inputs["ti_vectors"] for chunk in chunks for _, name in chunk.placements}
    made = embed(tower, chunks, vectors, skip=case.config["clip_skip"] - 1)
    yield compare("embeddings", made, case.outputs["embeddings"], FLOAT32)
    plain = "plain_first_chunk_last_hidden_state"
    first = tower.embed(case.inputs["tokens"][:1])
    if not chunks[0].placements:
        yield compare(plain, tower(first), case.intermediate[plain], FLOAT32)
