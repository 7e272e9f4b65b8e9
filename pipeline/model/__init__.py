"""The model: finds and checks a checkpoint, and turns pixels and texts into vectors.

`checkpoints` needs no torch and may be used anywhere; `chinese_clip` imports torch and belongs in an embedder.
"""
