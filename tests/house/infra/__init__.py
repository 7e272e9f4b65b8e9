"""Checks of images, Compose, Kubernetes and monitoring files."""
