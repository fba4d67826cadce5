"""Photographed pages with a known layout, made for the test set of ``benchmarks/photos.py``."""
