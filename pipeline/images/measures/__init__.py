"""What is computed of decoded pixels and stored: a hash that finds similar pictures, and signals of their quality."""
