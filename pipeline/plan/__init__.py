"""What a run will do: the source listed, cut into shards, less what is done already, stored as a plan."""
