"""Ways of mixing the images of a batch: one module each."""
