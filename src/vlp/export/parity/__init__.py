"""One task a file: its answers by torch and by a runtime, side by side."""
