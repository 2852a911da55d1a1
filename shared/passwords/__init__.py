"""Password hashes: made, and verified."""
