"""Which places of a picture an answer rests on, seen from inside the model, and whether that can be believed."""
