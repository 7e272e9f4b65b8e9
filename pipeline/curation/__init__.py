"""Works on finished datasets without decoding images again: search, dedup, filter, classify, evaluate, export."""
