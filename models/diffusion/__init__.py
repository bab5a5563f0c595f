"""What the models share that make pictures out of noise."""
