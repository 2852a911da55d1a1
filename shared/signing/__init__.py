"""Signatures: made with keys that rest sealed in Table Storage, and verified."""
