"""Drawing the images that the shipped model is trained on; see ``scripts/make_handwriting.py``."""
