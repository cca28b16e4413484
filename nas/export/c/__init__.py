"""C99, in float and in 8 bits."""
