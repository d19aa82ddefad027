"""Write runs as the repository that an assignment asks for: a model for each step."""
