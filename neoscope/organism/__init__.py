"""Models whose inner workings are known, compiled by hand or trained here."""

__all__ = ["compiled"]
