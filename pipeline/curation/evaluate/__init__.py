"""Retrieval scores, computed as the Chinese-CLIP authors compute them."""
