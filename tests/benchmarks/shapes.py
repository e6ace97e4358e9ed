"""What the published checkpoints' shapes are, and the ways in which a layer is kept."""

SHAPES = {"125M": (768, 12, 12), "1.3B": (2048, 24, 16), "2.7B": (2560, 32, 20)}
"""Width, layers and heads of the published checkpoints."""
POOLS, DTYPES = ("none", "mean"), ("float32", "float16")
"""Of what is kept of a layer."""
FORMATS = ("parquet", "safetensors")
