"""Vision–language pre-training, measured, served and kept up to date."""
