"""Runs the online API: the application with its model, and Ray Serve as its host on a cluster."""
