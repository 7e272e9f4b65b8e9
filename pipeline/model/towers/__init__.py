"""The image and text towers of a Chinese CLIP as torch modules, loaded strictly from a checkpoint."""
