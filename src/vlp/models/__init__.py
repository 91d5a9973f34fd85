"""The vision–language backbone."""
