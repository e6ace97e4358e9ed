"""The exact engine: many patches in one walk up the layers."""
