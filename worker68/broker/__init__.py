"""Between Redis and the worker: jobs come in through ``source``, what is ready goes to Celery through ``delivery``."""
