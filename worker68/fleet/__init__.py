"""Who owns what: leases, ownership, and how the runtime hangs on a Celery worker."""
