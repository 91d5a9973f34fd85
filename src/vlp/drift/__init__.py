"""Is what is served still like what the model was made for? Windows of served records against a reference."""
