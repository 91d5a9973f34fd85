"""What several house tests share."""
