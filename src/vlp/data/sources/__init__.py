"""One raw format a file, each an iterator of ``Record``."""
