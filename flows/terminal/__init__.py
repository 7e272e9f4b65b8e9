"""How results, progress and numbers look in a terminal, and what was typed there."""
