"""Searches for better parameters: Optuna proposes, DVC runs and records, validation judges."""
