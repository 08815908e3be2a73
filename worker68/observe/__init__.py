"""What the process says about itself: logs, outages, metrics, health, its status in Redis. Never message text.

``logs``, ``outages`` and ``metrics`` know nothing of the rooms, and every room may use them. The others look at the whole worker,
change none of its parts, and are imported by the runtime and the command line alone.
"""
