"""Chain-of-Zoom: one small step of super-resolution after another, into a point of a picture."""
