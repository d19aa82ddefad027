"""What a trained net gets right and wrong, worked out from its saved predictions."""
