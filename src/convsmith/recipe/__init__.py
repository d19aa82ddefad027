"""Recipes: one TOML file each, which says all that a run depends on."""
