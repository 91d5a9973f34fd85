"""From torch to a bundle that serves."""
