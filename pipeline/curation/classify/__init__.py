"""Zero-shot classification of stored image vectors."""
