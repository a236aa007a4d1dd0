"""The report, as people see it: in a browser."""
