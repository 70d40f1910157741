"""Trained towers as SavedModels that TensorFlow alone can serve."""

from tfrs_barlow.serving.exporting import export
from tfrs_barlow.serving.loading import load
from tfrs_barlow.serving.manifest import CorruptExportError, verify
from tfrs_barlow.serving.replacement import replace_candidates

__all__ = ["CorruptExportError", "export", "load", "replace_candidates", "verify"]
