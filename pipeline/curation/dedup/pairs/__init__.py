"""Pairs of near rows: vectors and perceptual hashes, compared without comparing every pair."""
