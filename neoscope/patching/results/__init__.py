"""Results with axes and statistics over pairs, as tables and on disk."""
