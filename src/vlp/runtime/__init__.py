"""Prediction from a bundle, without torch."""
