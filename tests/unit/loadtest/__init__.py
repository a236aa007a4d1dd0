"""Tests of the load test: its arithmetic, its readers, its artillery scenario and what it prints."""
