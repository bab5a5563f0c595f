"""FSRCNN (Dong et al. 2016) at its published size, untrained: what a plain network costs.

It enlarges luma alone, as published; colours would be resampled beside it.
"""

from torch import Tensor, nn

DETAIL, SHRUNK, MAPPINGS = 56, 12, 4
"""d, s and m of the paper's FSRCNN (56, 12, 4)."""
GAIN_DB = 37.00 - 34.3
"""On Set5 at x2: the paper's figure, less that of Pillow's Lanczos."""


class Fsrcnn(nn.Module):
    """Extraction, shrinking, mapping, expanding, and a transposed convolution at last."""

    def __init__(self) -> None:
        super().__init__()
        mapping = []
        for _ in range(MAPPINGS):
            mapping += [nn.Conv2d(SHRUNK, SHRUNK, 3, padding=1), nn.PReLU(SHRUNK)]
        self.layers = nn.Sequential(
            nn.Conv2d(1, DETAIL, 5, padding=2),
            nn.PReLU(DETAIL),
            nn.Conv2d(DETAIL, SHRUNK, 1),
            nn.PReLU(SHRUNK),
            *mapping,
            nn.Conv2d(SHRUNK, DETAIL, 1),
            nn.PReLU(DETAIL),
            nn.ConvTranspose2d(DETAIL, 1, 9, stride=2, padding=4, output_padding=1),
        )

    def forward(self, luma: Tensor) -> Tensor:
        """Double the sides of `(b, 1, h, w)`."""
        return self.layers(luma)
