"""The transformer that predicts what is noise in a latent, for one image.

Upstream: `NaDiT` of ByteDance-Seed/SeedVR, `models/dit_v2` (3B) and `models/dit` (7B). Attributes
are named as the tensors of `seedvr2_ema_3b.pth` and `seedvr2_ema_7b.pth`.
"""

from collections.abc import Callable

from einops import rearrange
from torch import Tensor, nn

from models.seedvr2.blocks import EPSILON, Block, Tokens
from models.seedvr2.config import PATCH, DitConfig, Flavour
from models.seedvr2.layout import lay_out
from models.seedvr2.modulation import Embedding, OutputModulation, TimeEmbedding
from models.seedvr2.rotary import Rotary, frequency_channels
from models.seedvr2.windows import Grid


class Dit(nn.Module):
    """Predicts velocity, noise minus latent, from a noisy latent beside its condition."""

    def __init__(self, config: DitConfig) -> None:
        """Build the network with unset parameters; on the meta device it takes no memory."""
        super().__init__()
        self.config = config
        self.vid_in = Projection(config.in_channels * PATCH**2, config.width)
        self.txt_in = nn.Linear(config.text_width, config.width)
        self.emb_in = TimeEmbedding(config.width, 6 * config.width)
        self.blocks = nn.ModuleList(Block(config, layer=layer) for layer in range(config.layers))
        if config.flavour is Flavour.B3:
            self.vid_out_norm = nn.RMSNorm(config.width, eps=EPSILON)
            self.vid_out_ada = OutputModulation(config.width)
        self.vid_out = Projection(config.width, config.out_channels * PATCH**2)

    def forward(
        self,
        cells: Tensor,
        text: Tensor,
        timestep: Tensor,
        on_block: Callable[[int], None] = lambda layer: None,
    ) -> Tensor:
        """Predict the velocity.

        Args:
            cells: `(h, w, 33)`: noise, conditioning latent and mask; even sides; in the network's
                dtype.
            text: `(tokens, 5120)` embedding of the prompt, in the network's dtype.
            timestep: `(1,)` float32 in [0, 1000].
            on_block: Called with each block's number before it runs; may raise to stop.

        Returns:
            `(h, w, 16)`.
        """
        pixels = self.vid_in(rearrange(cells, "(h y) (w x) c -> (h w) (y x c)", y=PATCH, x=PATCH))
        tokens = Tokens(pixels, self.txt_in(text))
        embedding = Embedding.parse(self.emb_in(timestep)[0])
        grid = Grid(1, cells.shape[0] // PATCH, cells.shape[1] // PATCH)
        rotary = Rotary.of(self.config, len(text))
        for layer, block in enumerate(self.blocks):
            on_block(layer)
            layout = lay_out(grid, rotary, shifted=layer % 2 == 1, device=cells.device)
            tokens = block(tokens, embedding, layout)
        out = tokens.pixels
        if self.config.flavour is Flavour.B3:
            out = self.vid_out_ada(self.vid_out_norm(out), embedding)
        return rearrange(
            self.vid_out(out),
            "(h w) (y x c) -> (h y) (w x) c",
            h=grid.rows,
            y=PATCH,
            x=PATCH,
        )


class Projection(nn.Module):
    """Tokens from patches of cells, or patches from tokens."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(tokens, outputs)` for `(tokens, inputs)`."""
        return self.proj(tokens)


def ignored_shapes(config: DitConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of what a checkpoint holds and nothing reads: rotary frequencies."""
    frequencies = frequency_channels(config.flavour, config.head_width) // 2
    return {
        f"blocks.{layer}.attn.rope.rope.freqs": (frequencies,) for layer in range(config.layers)
    }
