"""The one way from bytes to model input, for training and serving alike. Free of torch."""
