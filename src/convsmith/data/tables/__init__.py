"""Tables of labels beside the images: CSV, JSON, lists of paths."""
