"""``python -m worker68`` is the ``worker68`` command."""

from worker68.cli.main import main

main()
