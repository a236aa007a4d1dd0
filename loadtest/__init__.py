"""Sends the published load to a deployed stack, and counts at the far end what became of it."""
