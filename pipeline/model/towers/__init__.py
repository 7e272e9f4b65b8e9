"""The two encoders of a Chinese CLIP as torch modules, loaded strictly from a checkpoint."""
