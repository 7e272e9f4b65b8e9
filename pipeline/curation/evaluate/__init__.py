"""Computes retrieval scores as the Chinese-CLIP authors do."""
