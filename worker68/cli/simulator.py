"""``worker68 simulator``: a bridge to develop against, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from worker68.observe.logs import configure_logs
from worker68.settings import load_settings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where to listen; 0 takes a free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--kind",
    type=click.Choice(["new", "old"]),
    default="new",
    show_default=True,
    help="new gives back our message ids in verdicts, old makes its own.",
)
@click.option(
    "--verdict-delay",
    type=click.FloatRange(0),
    default=0.2,
    show_default=True,
    help="Seconds from a send to its verdict.",
)
@click.option(
    "--heartbeat", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Seconds between heartbeats."
)
@click.option(
    "--log",
    "log_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add each frame as a line of JSON, text included.",
)
@click.option(
    "--contacts", type=click.IntRange(2, 100_000), default=36, show_default=True, help="Friends of the account."
)
@click.option("--groups", type=click.IntRange(3, 10_000), default=3, show_default=True, help="Groups of the account.")
@click.option(
    "--members", type=click.IntRange(2, 100_000), default=12, show_default=True, help="Members of a made-up group."
)
@click.option(
    "--page-size",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="The most that one page of a list holds.",
)
@click.option("--seed", type=int, default=68, show_default=True, help="The same seed makes the same people and groups.")
def simulator(
    port: int,
    host: str,
    kind: Literal["new", "old"],
    verdict_delay: float,
    heartbeat: float,
    log_file: Path | None,
    contacts: int,
    groups: int,
    members: int,
    page_size: int,
    seed: int,
) -> None:
    """Simulate a 68 bridge until Ctrl-C or SIGTERM. No message reaches anybody.

    \b
    Example:
      worker68 simulator --port 5600 --verdict-delay 0.5 --log frames.jsonl
    """
    # Here, because it needs what an installation for production leaves out.
    from worker68.simulator.population import build_world
    from worker68.simulator.server import Simulator

    configure_logs(load_settings())
    Simulator(
        host=host,
        port=port,
        kind=kind,
        world=build_world(seed=seed, contacts=contacts, groups=groups, members=members, page_size=page_size),
        heartbeat_seconds=heartbeat,
        verdict_delay_seconds=verdict_delay,
        log_file=log_file,
    ).run_forever()
