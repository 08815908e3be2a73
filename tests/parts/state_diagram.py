"""Draws ``docs/states.md`` from the table of transitions. ``python -m tests.parts.state_diagram`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from worker68.jobs.states import TRANSITIONS, State

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "states.md"

_TEXT: Final = """\
# The states of a job

Drawn from `TRANSITIONS` in `worker68/jobs/states.py`, which also says when each state holds, who ends it, and who causes each
event. Whatever is not drawn here does not happen. A job arrives as `ready`, as `deferred` (not due yet, or its task is
unknown), or `ended` at once (invalid, not permitted, expired, revoked). A test compares this page with the table;
`python -m tests.parts.state_diagram` writes it anew.

```mermaid
stateDiagram-v2
{lines}
```
"""


def draw() -> str:
    """Return the page: a Mermaid diagram with every transition once, in the table's order."""
    arrivals = [f"    [*] --> {state}" for state in (State.READY, State.DEFERRED, State.ENDED)]
    moves = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    return _TEXT.format(lines="\n".join(arrivals + moves))


if __name__ == "__main__":
    DOCUMENT.write_text(draw())
