"""Images and labels: found, decoded once, verified, split and augmented."""
