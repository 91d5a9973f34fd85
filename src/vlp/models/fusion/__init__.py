"""One way to join text and image a file."""
