"""``enlarger/lanczos``: Pillow's Lanczos resampling, the baseline everyone can compare with."""
