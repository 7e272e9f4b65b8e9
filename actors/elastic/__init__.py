"""Changes the crew during a run: nodes that join are used, those that leave are left, idle decoders are ended."""
