"""Converts a dataset's columns to the types of each consumer, and checks their names: one module per consumer.

They write no files, so that whatever talks to a consumer directly converts in the same way. `names` has the rules for
names, `arrow`, `json_values` and `retyping` what consumers share.
"""
