"""What a finished batch leaves beside its results: two manifests and a contact sheet."""

from scheduler.report.desk import write

__all__ = ["write"]
