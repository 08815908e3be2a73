"""Benchmarks: each is one command, ``python3 -m benchmarks.NAME``, and measures our code next to the limit before it."""
