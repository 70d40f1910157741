"""Tutorials of TensorFlow Recommenders, each with Barlow Twins in a few lines."""
