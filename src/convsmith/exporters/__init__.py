"""Write models in forms that others use."""
