"""Between Redis and the worker: jobs come in through ``source``, and what is ready begins on the loop."""
