"""Tables that hold their images: parquet folders and the Hugging Face hub."""
