"""The facts of a result as pairs of a name and a value, stated once. A terminal and a Prefect page both render them."""
