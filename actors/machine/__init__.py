"""What a run may use: the resources of this machine, or of the Ray cluster that it joins."""
