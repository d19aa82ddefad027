"""Recipes: schema, loader, checks against the data, and sessions."""
