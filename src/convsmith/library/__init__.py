"""Data only: recipes, briefs, trained models, the page of the errors."""
