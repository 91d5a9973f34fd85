"""Tables of pairs: their rows, and regions shown by the alpha of an image."""
