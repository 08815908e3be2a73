"""``python -m worker68`` is the ``worker68`` command."""

from worker68.cli.start import main

main()
