"""User sequences in TFRecord files, written on one machine or by Beam."""
