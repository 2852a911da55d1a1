"""The core of Strongroom: everything but the Azure edge, which is `function_app.py`."""

__version__ = "0.1.0"
