"""What a run may use: this machine, or the Ray cluster that it joins."""
