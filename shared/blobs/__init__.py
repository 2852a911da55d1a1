"""Blobs: containers, their contents, and links to them."""
