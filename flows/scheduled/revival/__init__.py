"""Flow runs whose process is gone: found by the flow `reap`, started again a bounded number of times."""
