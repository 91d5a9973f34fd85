"""Pairs whose image and text may not belong together, ranked by the pre-trained model for a person to look at."""
