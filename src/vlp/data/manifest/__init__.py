"""Tables of pairs: their rows, what the columns mean, captions made of columns, images below a root."""
