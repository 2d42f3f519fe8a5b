"""Visual recommendations for a Django shop, inside its own PostgreSQL."""

__version__ = "0.1.0"
