"""An index over the vectors of a dataset: how it is stored, built, searched and checked."""
