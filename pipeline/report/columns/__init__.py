"""Describes columns: nulls, distinct and frequent values, and how what can be measured is distributed."""
