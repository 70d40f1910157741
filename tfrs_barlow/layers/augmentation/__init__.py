"""Augmentations: from a batch of sequences to random views of it."""
