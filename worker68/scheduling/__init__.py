"""Whose turn it is: the accounts that this worker owns, and when each is looked at."""
