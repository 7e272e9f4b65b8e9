"""The sections of a report, one module each. In: the current rows. Out: values for a template."""
