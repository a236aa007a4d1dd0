"""Runs Lambda functions: templates that are initialised once, environments forked from them, logs."""
