"""SeedVR2: one-step diffusion restoration by a transformer over windows, for single images."""
