"""Augmentation: transforms and the engines that apply them."""
