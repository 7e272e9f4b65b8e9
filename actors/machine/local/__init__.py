"""A Ray that runs on this machine alone and ends with the driver."""
