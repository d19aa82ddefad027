"""Resolve names to models; load and run trained models."""
