"""The upscalers: images in, images out. Knows nothing of queues, databases or object stores."""
