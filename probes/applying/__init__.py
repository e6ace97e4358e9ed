"""A kept probe applied to data and to texts that are like those it was trained on."""
