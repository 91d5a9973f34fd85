"""Where parts of a data set are prepared: each file is an engine, chosen by its name."""
