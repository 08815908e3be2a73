"""``worker68 demo``: the whole way of a job, on this machine and without any settings."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--jobs",
    "count",
    type=click.IntRange(0, 100),
    default=40,
    show_default=True,
    help="How many ordinary jobs, beside the instructive ones.",
)
def demo(count: int) -> int:
    """Show worker68 at work: Redis, database, bridge simulator and worker, all embedded, and some dozens of jobs.

    Needs no settings (and reads none), takes about fifteen seconds, and leaves nothing behind. Exit code 0 if everything came
    out as it should.

    \b
    Example:
      worker68 demo --jobs 20
    """
    # Here, because it needs what an installation for production leaves out.
    from worker68.cli.demo.play import play

    return play(count)
