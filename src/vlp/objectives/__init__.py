"""One pre-training loss a file."""
