"""What is made of a finished dataset, without decoding an image again: measures, labels, duplicates, cuts, copies."""
