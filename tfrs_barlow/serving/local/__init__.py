"""Serves an export on this machine: gRPC and REST as TensorFlow Serving, and a page."""
