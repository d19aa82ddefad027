"""Recipes: schema, loader, and whether net and data fit."""
