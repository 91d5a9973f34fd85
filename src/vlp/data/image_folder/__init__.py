"""Class folders: what their names mean."""
