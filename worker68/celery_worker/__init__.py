"""The worker as Celery's worker: it starts and stops with it, answers its remote control, and shows it the jobs under way."""
