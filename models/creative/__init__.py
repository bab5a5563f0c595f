"""The Creative upscaler: restored, then freely detailed by Stable Diffusion 1.5 or XL."""
