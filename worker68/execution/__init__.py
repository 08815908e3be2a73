"""The way of a job through the worker: intake, dispatch, execute (the main path), recovery, and the relay that publishes."""
