"""Does the work: the Celery surface, the engine that keeps models resident, reading and writing images."""
