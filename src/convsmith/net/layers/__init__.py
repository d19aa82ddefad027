"""Layer kinds and the operations they expand into, by family."""
