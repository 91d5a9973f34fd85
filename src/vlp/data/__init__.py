"""From raw files to shuffled batches."""
