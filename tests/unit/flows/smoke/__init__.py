"""Unit tests of `flows.smoke`."""
