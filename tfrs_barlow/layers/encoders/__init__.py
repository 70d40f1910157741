"""Encoders: from a batch of sequences to one embedding each."""
