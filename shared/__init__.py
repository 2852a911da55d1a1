"""The core of Strongroom: everything except the Azure edge, `function_app.py`."""

__version__ = "0.1.0"
