"""Images: decodes encoded bytes to model-sized pixels, and computes perceptual hashes."""
