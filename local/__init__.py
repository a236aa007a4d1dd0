"""Runs the stack on this machine, without an AWS account and without Docker."""
