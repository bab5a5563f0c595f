"""The Clarity upscaler: Stable Diffusion 1.5 over tiles, steered by what the picture shows."""
