"""The window attention of SeedVR2 on the CPU, beside the loop that one would write first."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from models.seedvr2.blocks import Tokens
from models.seedvr2.config import DIT_3B
from models.seedvr2.layout import lay_out
from models.seedvr2.rotary import Rotary
from models.seedvr2.windows import Grid
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.models.seedvr2.naive import attend_by_window
from tests.models.seedvr2.tiny import make_dit

TIMES = 5
SMALL = replace(DIT_3B, width=256, heads=2, layers=1, separate_layers=1, hidden=512, text_width=64)
GRID = Grid(1, 68, 120)  # 1088 x 1920 pixels
TEXT = 58


def run(_servers: Servers) -> Report:
    """Take the best of several calls, ours and the baseline's in turn, in time of the CPU."""
    attention = make_dit(SMALL).blocks[0].attn
    rotary = Rotary.of(SMALL, TEXT)
    tokens = Tokens(torch.randn(GRID.rows * GRID.columns, SMALL.width), torch.randn(TEXT, 256))
    layout = lay_out(GRID, rotary, shifted=True, device=torch.device("cpu"))
    ours, plain = [], []
    with torch.inference_mode():
        for _ in range(TIMES):
            ours.append(_cpu_seconds(lambda: attention(tokens, layout, answer_text=True)))
            plain.append(
                _cpu_seconds(
                    lambda: attend_by_window(attention, tokens, GRID, rotary, shifted=True)
                )
            )
    ratio = min(plain) / min(ours)
    figure = Figure(
        name="SeedVR2, windows of an attention at 2 MP, CPU time",
        measured=f"{min(ours) * 1000:.0f} ms",
        baseline=f"one by one, eager: {min(plain) * 1000:.0f} ms",
        ratio=f"{ratio:.2f} x as fast",
        target=">= 1 x",
        met=ratio >= 1,
    )
    note = f"seedvr2: 2 heads of 128, best of {TIMES} calls in turn; load {load()}"
    return Report(figures=(figure,), notes=(note,))


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
