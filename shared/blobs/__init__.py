"""Blobs: listing containers and what is in them."""
