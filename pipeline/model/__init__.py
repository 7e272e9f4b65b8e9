"""The model: finding a checkpoint, checking it, and turning pixels and texts into vectors.

`checkpoints` needs no torch and may be used anywhere; `chinese_clip` loads torch and transformers and belongs in an
embedder.
"""
