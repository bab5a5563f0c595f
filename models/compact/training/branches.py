"""The network while it learns: each convolution is a sum of linear branches, folded at every step.

A 3 x 3 kernel, a 1 x 1 to 3 x 3 sequence and the identity add up to one 3 x 3 kernel, so a step
costs about what the folded network costs; only the gradients differ, and they lead to better
kernels (ECBSR, Zhang et al. 2021). Unlike there, the sum is formed over kernels, not over features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compact.network import CHANNELS, DEPTH, SLOPE, CompactNetwork, bicubic_cells

WIDENING = 2
"""Channels between the 1 x 1 and the 3 x 3 of a sequence, for each channel before it."""


class BranchedConv(nn.Module):
    """A 3 x 3 convolution as a sum of branches."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after
        middle = WIDENING * before
        gain = (2.0 / (1 + SLOPE**2)) ** 0.5
        self.direct = nn.Parameter(
            torch.randn(after, before * 9) * gain * 0.5 / (before * 9) ** 0.5
        )
        self.point = nn.Parameter(torch.randn(after, before) * 0.1 / before**0.5)
        self.widen = nn.Parameter(torch.randn(middle, before) / before**0.5)
        self.narrow = nn.Parameter(torch.randn(after, middle * 9) * 0.3 / (middle * 9) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(after))

    def kernel(self) -> Tensor:
        """Fold the branches: `(after, before, 3, 3)`."""
        direct = self.direct.view(self.after, self.before, 3, 3)
        narrow = self.narrow.view(self.after, -1, 9)
        sequence = torch.einsum("omk,mi->oik", narrow, self.widen)
        kernel = direct + sequence.view(self.after, self.before, 3, 3)
        identity = torch.eye(self.before) if self.before == self.after else torch.zeros(())
        centre = self.point + identity
        return kernel + functional.pad(centre[..., None, None], (1, 1, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Convolve `(b, before, h, w)`; zeros lie beyond the border."""
        return functional.conv2d(features, self.kernel(), self.bias, padding=1)


class BranchedNetwork(nn.Module):
    """`CompactNetwork` with branches; `fold` makes it one."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = BranchedConv(3, CHANNELS)
        self.body = nn.ModuleList(BranchedConv(CHANNELS, CHANNELS) for _ in range(DEPTH))
        self.tail = BranchedConv(CHANNELS, 3 * scale**2)
        self.skip = nn.Parameter(bicubic_cells(scale))
        with torch.no_grad():
            for weight in (self.tail.direct, self.tail.narrow, self.tail.point):
                weight.mul_(0.1)  # the first picture is nearly the bicubic one

    def forward(self, pixels: Tensor) -> Tensor:
        """Enlarge `(b, 3, h, w)` RGB in [0, 1], as `CompactNetwork.forward` does."""
        features = functional.leaky_relu(self.head(pixels), SLOPE)
        for layer in self.body:
            features = functional.leaky_relu(layer(features), SLOPE)
        cells = self.tail(features) + functional.conv2d(pixels, self.skip, padding=2, groups=3)
        return functional.pixel_shuffle(cells, self.scale)

    @torch.no_grad()
    def fold(self) -> CompactNetwork:
        """Return the same network with one convolution for each sum of branches."""
        folded = CompactNetwork(self.scale)
        plains = [folded.head, *folded.body, folded.tail]
        sums = [self.head, *self.body, self.tail]
        for plain, branched in zip(plains, sums, strict=True):
            assert isinstance(plain, nn.Conv2d)
            assert isinstance(branched, BranchedConv)
            assert plain.bias is not None
            plain.weight.copy_(branched.kernel())
            plain.bias.copy_(branched.bias)
        folded.skip.weight.copy_(self.skip)
        return folded.eval()

    def matrices(self) -> list[nn.Parameter]:
        """Return the hidden layers' matrices, which Muon orthogonalises."""
        return [p for layer in self.body for p in layer.parameters() if p.ndim == 2]

    def others(self) -> list[nn.Parameter]:
        """Return every other parameter."""
        chosen = {id(p) for p in self.matrices()}
        return [p for p in self.parameters() if id(p) not in chosen]
