"""The command line: one module a command. It asks other rooms, and decides nothing about a job."""
