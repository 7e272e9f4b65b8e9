"""What a similarity is worth in this dataset: logit, percentile, chance."""
