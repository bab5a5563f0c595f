"""The transformer's blocks, and all of it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.seedvr2.blocks import Block, Tokens, attention_input
from models.seedvr2.config import DitConfig, Flavour, read_dit_config
from models.seedvr2.dit import Dit, ignored_shapes
from models.seedvr2.layout import Layout, lay_out
from models.seedvr2.modulation import Embedding
from models.seedvr2.rotary import Rotary
from models.seedvr2.windows import Grid
from tests.goldens.case import Case, Tensors
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-4, relative=1e-4)


def build_dit(tensors: Tensors) -> Dit:
    """Build a transformer from published tensors."""
    config = read_dit_config({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    with torch.device("meta"):
        dit = Dit(config)
    ignored = ignored_shapes(config)
    wanted = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    dit.load_state_dict(wanted, strict=True, assign=True)
    return dit


def check_dit(case: Case) -> Iterator[Comparison]:
    """Run a whole transformer on one latent."""
    if len(case.inputs["vid"]) > 1:
        yield skip("vid", "a video of several frames; the product enlarges single images")
        return
    dit = build_dit(case.weights)
    seen: dict[int, Tensor] = {}
    for layer, block in enumerate(dit.blocks):
        block.register_forward_hook(_recorder(seen, layer))
    velocity = dit(case.inputs["vid"][0], case.inputs["txt"], case.inputs["timestep"])
    for name, expected in case.intermediate.items():
        layer = int(name.removeprefix("block").removesuffix("_vid"))
        yield compare(name, seen[layer], expected, FLOAT32)
    yield compare("vid", velocity[None], case.outputs["vid"], FLOAT32)


def check_block(case: Case) -> Iterator[Comparison]:
    """Run one block, and its attention alone."""
    block = build_block(case)
    tokens = Tokens(case.inputs["vid"], case.inputs["txt"])
    embedding = Embedding.parse(case.inputs["emb"][0])
    layout = _layout(case)
    entering = attention_input(tokens, *block.modulations(embedding))
    seen = block.attn(entering, layout, answer_text=True)
    yield compare("attn_vid", seen.pixels, case.intermediate["attn_vid"], FLOAT32)
    yield compare("attn_txt", seen.text, case.intermediate["attn_txt"], FLOAT32)
    out = block(tokens, embedding, layout)
    for name, expected in case.outputs.items():
        yield compare(name, out.pixels if name == "vid" else out.text, expected, FLOAT32)


def build_block(case: Case) -> Block:
    """Build a block with the sizes of its tensors, at the place that the header tells."""
    weights = {name: t for name, t in case.weights.items() if "rope" not in name}
    flavour = Flavour(case.config["flavour"])
    shared = case.config["shared_weights"]
    # The 7B's last block is no other than the rest; the product only leaves its text out.
    last = case.config["is_last_layer"] and flavour is Flavour.B3
    stream = "all" if shared else "vid"
    head_width = weights[f"attn.norm_q.{stream}.weight"].shape[0]
    inner, width = weights[f"attn.proj_qkv.{stream}.weight"].shape
    config = DitConfig(
        flavour=flavour,
        width=width,
        heads=inner // 3 // head_width,
        head_width=head_width,
        layers=1 if last else 2,
        separate_layers=0 if shared else 2,
        hidden=weights[f"mlp.{stream}.proj_in.weight"].shape[0],
    )
    block = Block(config, layer=0)
    block.load_state_dict(weights, strict=True)
    return block


def _layout(case: Case) -> Layout:
    rotary = Rotary(
        flavour=Flavour(case.config["flavour"]),
        head_width=case.config["head_dim"],
        text_length=len(case.inputs["txt"]),
    )
    return lay_out(
        Grid(*case.config["grid_thw"]),
        rotary,
        shifted=case.config["window_method"].startswith("720pswin"),
        device=torch.device("cpu"),
    )


def _recorder(seen: dict[int, Tensor], layer: int) -> Callable[..., None]:
    def record(module: nn.Module, inputs: object, tokens: Tokens) -> None:
        seen[layer] = tokens.pixels

    return record
