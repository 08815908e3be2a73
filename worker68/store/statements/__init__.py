"""Statements within a transaction that the caller owns: each takes its connection. None begins or ends one."""
