"""What PostgreSQL reads to execute our statements: each is explained with its own parameters, just before it is executed.

In: an engine, and code that uses it. Out: for each statement its plan as it ran, and how many rows it looked at. Never: a time; a
statement that is written down a second time; one that is sent many times over (rows to insert have no plan).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, event

_EXPLAINED: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Plan:
    """A statement as PostgreSQL ran it."""

    statement: str
    root: dict[str, Any]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        found, waiting = [], [self.root]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += node.get("Plans", [])
        return found

    @property
    def looked_at(self) -> int:
        """How many rows all parts of the plan gave on or threw away, each time that they ran."""
        return sum(_looked_at(node) for node in self.nodes)

    def __str__(self) -> str:
        return f"{self.looked_at} rows: {self.statement}\n" + "\n".join(_describe(self.root))


def _looked_at(node: dict[str, Any]) -> int:
    thrown = sum(count for name, count in node.items() if name.startswith("Rows Removed by"))
    looked_at: int = round((node["Actual Rows"] + thrown) * node["Actual Loops"])
    return looked_at


def _describe(node: dict[str, Any], depth: int = 1) -> Iterator[str]:
    where = " ".join(
        str(node[name]) for name in ("Relation Name", "Index Name", "Index Cond", "Filter") if name in node
    )
    yield f"{'  ' * depth}{node['Node Type']} {where}: {_looked_at(node)} in {node['Actual Loops']} loops"
    for part in node.get("Plans", []):
        yield from _describe(part, depth + 1)


@contextmanager
def explained(engine: Engine) -> Iterator[list[Plan]]:
    """Explain what the block executes on this engine (PostgreSQL); the list is filled meanwhile."""
    plans: list[Plan] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if many or not statement.lstrip().startswith(_EXPLAINED) or "pg_advisory" in statement:
            return
        driver = cursor.connection
        with driver.transaction(force_rollback=True), driver.cursor() as beside:
            beside.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + statement, parameters, prepare=False)
            (told,) = beside.fetchone()
        plans.append(Plan(statement, (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(engine, "before_cursor_execute", explain)
