"""Readers: interaction logs from tables, archives and downloads."""
