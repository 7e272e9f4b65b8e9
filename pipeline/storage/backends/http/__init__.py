"""http and https: read-only, within limits of bytes and time, and guarded where addresses are not trusted."""
