"""Puts similarities in relation to their dataset: logit, percentile, chance."""
