"""Both sides of each claim, run in turn; see docs/results.md."""
