"""Transforms: each module has a config, its implementations, its source text and its description."""
