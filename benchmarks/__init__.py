"""Benchmarks: each is one command, ``python3 -m benchmarks.NAME``, and measures our code next to the limit before it.

Everything runs on this machine, embedded, and ends by itself. A figure is the median of at least five rounds with its spread; a
ratio is of two things measured in turn in one run, because machines differ and change. Exit code 1 where a goal was missed.
"""
