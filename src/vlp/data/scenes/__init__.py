"""Procedural pictures with language, and the oracle that knows what is true of them."""
