"""Data sets of the Hugging Face ``datasets`` library: folders that it saved, and Parquet files."""
