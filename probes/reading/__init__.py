"""Ways from texts, words, treebanks, stores, frames and caches to data that probes read."""
