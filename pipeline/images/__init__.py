"""Images: encoded bytes to model-sized pixels, and perceptual hashes of them."""
