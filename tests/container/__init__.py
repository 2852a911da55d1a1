"""The container image, built and run on a stand-in for Microsoft's base."""
