"""The routes: each module translates one form of request into embeddings and comparisons."""
