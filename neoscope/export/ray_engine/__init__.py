"""The engine that runs an export in actors of Ray."""

from neoscope.export.ray_engine.engine import RayEngine

__all__ = ["RayEngine"]
