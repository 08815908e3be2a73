"""``worker68 simulator``: a bridge to develop against, in the foreground.

In: a port, a population, faults by their names. Out: a running simulator. Never: a list of faults of its own: the help shows what
``worker68.simulator.knobs`` finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import click

from worker68.observe.logs import configure_logs
from worker68.settings import load_settings

#: Where the words of a fault begin.
COLUMN: Final = 30


class WithFaults(click.Command):
    """A command whose help ends with the table of faults."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Here, because it needs what an installation for production leaves out.
        try:
            from worker68.simulator.faults import Faults
            from worker68.simulator.knobs import list_knobs
            from worker68.simulator.scenario import list_scenarios
        except ModuleNotFoundError:
            return  # the command itself says what to install

        with formatter.section("Scenarios"):
            formatter.write_dl(list(list_scenarios().items()), col_max=COLUMN)
        with formatter.section("Faults, with what each takes; * also for one message alone"):
            knobs = [(knob, "* " if knob.by_message else "") for knob in list_knobs(Faults())]
            formatter.write_dl(
                [(knob.name, f"{star}{knob.words} [{knob.form}]") for knob, star in knobs], col_max=COLUMN
            )
        with formatter.section("Short names, in a message's text: !sim:NAME or !sim:NAME:VALUE"):
            short = [
                (name, f"{knob.name} {value or 'VALUE'}") for knob, _ in knobs for name, value in knob.short.items()
            ]
            formatter.write_dl([*short, ("clear", "turn every fault back")], col_max=COLUMN)


def split_faults(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, Any], ...]:
    """Split NAME=VALUE; a NAME alone has no value."""
    return tuple((name, value if equals else None) for name, equals, value in (one.partition("=") for one in given))


@click.command(cls=WithFaults)
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
@click.option("--client-queues", is_flag=True, help="Queue, gather and give up as a real client does.")
@click.option(
    "--scenario",
    "scenarios",
    metavar="NAME|FILE",
    multiple=True,
    help="Follow a scenario: one of those below, or a TOML file. May be repeated.",
)
@click.option(
    "--replay",
    "record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Answer as the bridge did that `worker68 probe --record` has asked.",
)
@click.option(
    "--fault",
    "faults",
    metavar="NAME[=VALUE]",
    multiple=True,
    callback=split_faults,
    help="Turn on one of the faults below. May be repeated.",
)
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
    client_queues: bool,
    scenarios: tuple[str, ...],
    record: Path | None,
    faults: tuple[tuple[str, Any], ...],
) -> None:
    """Simulate a 68 bridge until Ctrl-C or SIGTERM. No message reaches anybody.

    Faults come from --fault, from scenarios, and from the texts of messages: a message with the text "hello !sim:late:4s" gets its
    verdict four seconds later, also when it is written again.

    \b
    Example:
      worker68 simulator --port 5600 --scenario busy-evening --fault silence=getGroups:2
    """
    # Here, because it needs what an installation for production leaves out.
    from worker68.simulator.knobs import BadFault
    from worker68.simulator.population import build_world
    from worker68.simulator.replay import BadRecord, load_record
    from worker68.simulator.scenario import BadScenario, apply, load_scenario
    from worker68.simulator.server import Simulator

    configure_logs(load_settings())
    bridge = Simulator(
        host=host,
        port=port,
        kind=kind,
        world=build_world(seed=seed, contacts=contacts, groups=groups, members=members, page_size=page_size),
        heartbeat_seconds=heartbeat,
        verdict_delay_seconds=verdict_delay,
        log_file=log_file,
    )
    try:
        for name in ("client-queues",) * client_queues + scenarios:
            bridge.follow(load_scenario(name))
        apply(bridge.faults, faults)
        if record is not None:
            bridge.replay(load_record(record))
    except (BadFault, BadScenario, BadRecord) as error:
        raise click.UsageError(str(error)) from error
    bridge.run_forever()
