"""Does the work: the Celery surface, the engine around the device, reading and writing images."""
