"""The story of one order, from the log lines of everything that had a hand in it."""
