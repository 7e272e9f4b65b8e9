"""Plans a run: lists the source, cuts it into shards, leaves out what is done, and stores the plan."""
