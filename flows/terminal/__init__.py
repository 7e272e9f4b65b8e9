"""How results, progress and numbers look in a terminal."""
