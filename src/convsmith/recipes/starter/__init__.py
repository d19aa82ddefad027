"""A first recipe for a data set."""
