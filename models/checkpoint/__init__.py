"""How published files become modules: what is needed, opening, key maps, strict assignment."""
