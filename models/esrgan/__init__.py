"""ESRGAN and Real-ESRGAN: any network of the RRDBNet family, from the operator's checkpoint."""
