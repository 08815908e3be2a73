"""The demo: every part embedded, some dozens of jobs, and what came of them."""
