"""Tar archives of samples, read member by member."""
