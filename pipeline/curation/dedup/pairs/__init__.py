"""Finds pairs of near rows, by vectors and by perceptual hashes, without comparing every pair."""
