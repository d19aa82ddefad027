"""Augmentation: transforms, mixing, and the engines that apply them."""
