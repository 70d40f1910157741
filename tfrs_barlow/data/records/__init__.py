"""Records: user sequences in TFRecord files, written here or by Beam."""
