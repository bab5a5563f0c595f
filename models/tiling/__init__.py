"""What models share that work on large pictures in parts."""
