"""Trained models: resolve a name, load, predict."""
