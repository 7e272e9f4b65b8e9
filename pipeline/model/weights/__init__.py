"""The weights of a model: the tensors in its files, whatever wraps them, by transformers' names and in float32."""
