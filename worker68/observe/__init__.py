"""Logs, metrics, health: what the process says about itself. Never message text."""
