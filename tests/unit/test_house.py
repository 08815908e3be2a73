"""Holds the rooms of the house apart: who may import whom, which library stays where, how big a file may be, where its tests are.

The rules are those of docs/architecture.md. An import counts wherever it stands, also within a function or for types only: it is
knowledge all the same.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "worker68"
TESTS = PACKAGE.parent / "tests"
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

#: What a part says about itself without knowing the others. The rest of ``observe`` looks at the whole worker.
TELLING = {"observe.logs", "observe.outages", "observe.metrics", "observe.tracebacks"}

#: What checks and reads the values of settings, in the room whose value it is. It knows no settings.
READERS_OF_VALUES = {"bridge.url", "broker.url", "jobs", "limits.rates", "limits.slow_downs", "protocol.api"}

#: Small modules that every room but ``jobs`` may use. They know nothing of the rooms; ``settings`` knows
#: READERS_OF_VALUES alone.
FURNITURE = {"errors", "clock", "durations", "settings", *TELLING}

#: Room, or module, -> the rooms and modules that it may import. What is not named here may import any, save those of DOORS.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "durations": set(),
    "loop": set(),
    "config_file": {"errors"},
    "settings": {"errors", "durations", "config_file"} | READERS_OF_VALUES,
    **{reader: {"errors", "durations", "jobs"} for reader in READERS_OF_VALUES - {"jobs"}},
    "jobs": {"errors"},
    "protocol": {"jobs"},
    "tasks": FURNITURE | {"jobs", "protocol"},
    "bridge": FURNITURE | {"jobs", "protocol", "loop"},
    "redis_calls": {"errors"},
    "limits": FURNITURE | {"jobs", "redis_calls"},
    "store": FURNITURE | {"jobs", "tasks"},
    "execution": FURNITURE
    | {"jobs", "protocol", "tasks", "loop", "bridge", "limits", "store", "redis_calls", "fleet.leases"},
    "fleet": FURNITURE | {"loop", "redis_calls", "store", "bridge.url"},
    "broker": FURNITURE | {"jobs", "tasks", "redis_calls", "fleet.leases", "execution.intake", "execution.refusals"},
    "scheduling": FURNITURE
    | {"jobs", "loop", "fleet.leases", "broker.inbox", "broker.place"}
    | {"execution.account", "execution.slots", "execution.under_way"},
    "celery_worker": FURNITURE
    | {"client", "jobs", "loop", "store", "broker.place", "execution.slots", "observe.runs", "runtime"},
    "simulator": FURNITURE,
    **dict.fromkeys(TELLING, FURNITURE),
}

#: What only few may import, furniture apart: room -> those modules and rooms.
DOORS: dict[str, set[str]] = {
    "cli": {"cli", "__main__"},
    "runtime": {"celery_worker"},
    "simulator": {"simulator", "cli"},
    "embedded": {"cli"},
    "observe": {"observe", "runtime", "celery_worker", "cli"},
    "celery_tasks": {"app"},
    "celery_worker": {"app", "cli.start", "cli.flower"},
}

_CELERY = {"app", "celery_tasks", "celery_worker", "cli", "client", "__init__"}

#: What Celery documents for applications: module -> its names, or nothing where all are. Its inside may change, so what is used
#: of it stands in one module.
CELERY_DOCUMENTED: dict[str, set[str]] = {
    "celery": {"Celery", "bootsteps", "signals"},
    "celery.exceptions": set(),
    "celery.result": set(),
    "celery.signals": set(),
    "celery.worker.control": {"control_command", "inspect_command"},
}
CELERY_INSIDE = {"celery_worker.internals"}

#: Attributes of Celery's worker that its extensions are not promised.
CELERY_INSIDE_ATTRIBUTES = {"pool_cls", "autoscale"}

#: Library -> the modules and rooms that may import it.
THIRD_PARTIES: dict[str, set[str]] = {
    "celery": _CELERY,
    "kombu": _CELERY,
    "billiard": _CELERY,
    "vine": _CELERY,
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "psycopg": {"store"},
    "websocket": {"bridge.connection", "bridge.dial"},
    "websockets": {"simulator"},
    "redis": {
        "redis_calls",
        "broker",
        "limits",
        "fleet",
        "execution.relay",
        "execution.recorder",
        "observe.parts",
        "observe.roster",
        "observe.figures",
        "cli",
        "embedded",
    },
    "click": {"cli"},
    "rich": {"cli"},
    "flower": {"cli"},
    "tornado": {"cli"},
    "prometheus_client": {"observe"},
}

#: What makes connections, runs transactions and counts what they ended. All else of ``store`` owns its transactions, save these:
TRANSACTIONS = {"store.engine", "store.writer", "store.endings"}
#: They are given the connection of a transaction that another has begun, and know of ``store`` only this:
STATEMENTS = "store.statements"
STATEMENTS_MAY_IMPORT = {STATEMENTS, "store.tables", "store.endings"}

#: ``jobs`` is what others are built on: nothing from outside but this.
JOBS_THIRD_PARTIES = {"msgspec"}

#: Call -> where things are built; everybody else is handed them.
BUILDERS: dict[str, set[str]] = {
    "create_engine": {"store.engine"},
    "Bridges": {"runtime", "cli"},
    "make_client": {"runtime", "cli"},
    "make_pool": {"broker.client", "broker.wire"},
    "Redis": set(),
    "StrictRedis": set(),
    "from_url": {"cli.demo", "embedded"},
    # What belongs to the loop needs neither: docs/architecture.md says what each of them is for.
    "Thread": {"loop", "watchdog", "store.writer", "bridge.dial", "child", "simulator"},
    "ThreadPoolExecutor": {"loop"},
    "Lock": {"observe.outages", "observe.figures", "fleet.accounts", "store.engine", "simulator"},
    "RLock": set(),
    "Condition": {"simulator"},
}

#: What makes a thread wait for another one that holds it.
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"}

#: Locks of a worker. For one more, give what it guards to the loop or to one thread.
MOST_LOCKS = 4

#: A file longer than this has two things in it.
MOST_LINES = 400

#: Module -> the file, below ``tests``, whose tests exercise it, where none has its name. What gets its own leaves this table.
COVERED_BY = {
    "execution/shared.py": "integration/execution/test_account.py",
    "observe/parts.py": "integration/observe/test_vitals.py",
}

#: A class with more fields than this is two things, and a constructor with more parameters builds too much at once.
MOST_FIELDS, MOST_PARAMETERS = 10, 6

#: Base classes that make a constructor of the fields, as a dataclass has.
BUILT_OF_FIELDS = {"NamedTuple", "Struct"}

#: Where the parts are built and held.
WIRING = {"runtime"}

#: What may be larger: records, which are written and read by the names of their fields. Class -> what it is a record of.
RECORDS = {
    "bridge.frames.Sighting": "a message of the account's own, as the bridge spoke of it",
    "bridge.health.Timing": "the lengths of time of a connection",
    "cli.dead.Entry": "an entry of the list of what was set aside",
    "cli.findings.Finding": "a line of `check`",
    "cli.top.AccountLine": "a line of `top`",
    "cli.joblist._Surroundings": "what is known around one job, for `jobs show`",
    "execution.lanes.Kind": "what of a job decides whether it may start",
    "execution.shared.Shared": "what all accounts of a worker use; built in the runtime",
    "jobs.envelope.Envelope": "a message's envelope",
    "jobs.evidence.Evidence": "what was seen of one call",
    "jobs.fields.Common": "the fields that every job takes",
    "jobs.job.Job": "a row of `jobs`",
    "jobs.job.Order": "what a valid message asks for",
    "jobs.outcome.Reply": "the reply of the contract",
    "jobs.snapshot.FriendRequestRow": "a row of `friend_requests`",
    "jobs.snapshot.GroupRequestRow": "a row of `group_requests`",
    "jobs.snapshot.GroupRow": "a row of `groups`",
    "jobs.task.Step": "one step of a task, as its file describes it",
    "jobs.task.Task": "a task, as its file describes it",
    "observe.parts.Parts": "the parts of a worker, for what looks at them; built in the runtime",
    "observe.roster.WorkerStatus": "a worker in the roster",
    "protocol.entries.User": "a user, as the service gives one",
    "settings.AccountSettings": "the settings of one account",
    "settings.PerAccount": "the settings that an account's table may hold",
    "settings.Settings": "all settings",
    "simulator.endpoints._GroupParam": "what a call about a group may change",
    "simulator.events.Message": "a message of the simulated account",
    "simulator.faults.Faults": "what a test may have go wrong",
    "simulator.paging.Listing": "a paged list of the simulated world",
    "simulator.paging.Paging": "what a test may have go wrong in paged lists",
    "simulator.queues.ClientKnobs": "what a test may set of the client's queues",
    "simulator.records.Sent": "a message that went out of the simulator",
    "simulator.server.Simulator": "what a test may set and read of the simulator, each by its own name",
    "simulator.world.Group": "a group of the simulated world",
    "simulator.world.GroupRequest": "a request about a group of the simulated world",
    "simulator.world.Person": "a person of the simulated world",
    "simulator.world.World": "the simulated world",
    "store.accounts.AccountRow": "a row of `accounts`",
    "store.inspection.Found": "a job as remote control shows it",
    "store.intake.Entry": "a message as it becomes a row",
    "store.lanes.LaneHead": "the first job of a lane",
    "store.reports.AttemptLine": "a row of `attempts`, for `jobs show`",
    "store.reports.JobLine": "a row of `jobs`, for `jobs list`",
    "store.reports.JobReport": "all about one job, for `jobs show`",
    "store.statements.snapshots.SnapshotLine": "a row of `snapshots`",
    "tasks.sync_group._GroupBase": "a group, as the service gives its base",
    "tasks.sync_group_requests._Request": "a request about a group, as the service gives it",
    "tasks.sync_groups._Group": "a group, as the service lists it",
}

FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "service", "base"}


def is_within(name: str, places: set[str]) -> bool:
    """Whether a module is one of these, or stands in one of these rooms."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


@dataclass(frozen=True)
class Module:
    """A file of the package: ``name`` is ``store.engine`` for worker68/store/engine.py, ``store`` for its ``__init__``."""

    name: str
    source: str

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def is_in(self, places: set[str]) -> bool:
        return is_within(self.name, places)


@dataclass(frozen=True)
class Import:
    line: int
    name: str

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]


def read_package() -> list[Module]:
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        modules.append(Module(".".join(parts), path.read_text()))
    return modules


def find_imports(module: Module) -> Iterator[Import]:
    """Every import by its full name; ``from worker68 import jobs`` is one of ``worker68.jobs``, also within a room."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno}: imports are written in full"
            assert node.module is not None
            for full in (f"{node.module}.{alias.name}" for alias in node.names):
                is_module = node.module == "worker68" or (PACKAGE.parent / f"{full.replace('.', '/')}.py").is_file()
                yield Import(node.lineno, full if is_module else node.module)


def find_calls(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, called.rpartition(".")[2]) for called in find_called(node))


def find_called(call: ast.Call) -> Iterator[str]:
    """Yield the full name of what is called, also of what a dataclass is to call for each of its instances."""
    for each in (call.func, *(keyword.value for keyword in call.keywords if keyword.arg == "default_factory")):
        if isinstance(each, ast.Name | ast.Attribute):
            yield ast.unparse(each)


def find_locks(module: Module) -> Iterator[str]:
    """Yield each lock as docs/architecture.md names it: the file, and the name or attribute that holds it."""
    tree = ast.parse(module.source)
    file = f"{module.name.replace('.', '/')}.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(makes_lock(called) for called in find_called(node)):
            around = [each for each in ast.walk(tree) if each is not node and node in ast.walk(each)]
            classes = [each.name for each in around if isinstance(each, ast.ClassDef)]
            targets = [ast.unparse(target) for each in around for target in find_targets(each)]
            held = targets[-1].removeprefix("self.").partition("[")[0] if targets else f"line {node.lineno}"
            yield f"{file} {'.'.join([*classes[-1:], held])}"


def makes_lock(called: str) -> bool:
    """Whether this makes a lock of threads: at one of asyncio's no thread waits."""
    return called.rpartition(".")[2] in LOCKS and not called.startswith("asyncio.")


def find_targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def read_documented_locks(text: str) -> set[str]:
    """Return what the table "What each lock guards" names, as ``find_locks`` does."""
    _, _, after = text.partition("## What each lock guards")
    rows = re.findall(r"^\| `(\S+\.py)`, `(\S+)` \|", after.partition("\n## ")[0], re.MULTILINE)
    return {f"{file} {name}" for file, name in rows}


def offences_of_locks(modules: list[Module], text: str) -> Iterator[str]:
    locks = [lock for module in modules if module.room != "simulator" for lock in find_locks(module)]
    documented = read_documented_locks(text)
    yield from (f"{lock}: docs/architecture.md does not say what it guards" for lock in sorted({*locks} - documented))
    yield from (f"{lock}: is in docs/architecture.md, but not in the package" for lock in sorted(documented - {*locks}))
    if len(locks) > MOST_LOCKS:
        yield f"{len(locks)} locks, more than {MOST_LOCKS}: {', '.join(sorted(locks))}"


def offences_of_rooms(module: Module) -> Iterator[str]:
    for imported in find_imports(module):
        if imported.library != "worker68" or imported.name == "worker68":
            continue
        name = imported.name.removeprefix("worker68.")
        room = name.partition(".")[0]
        where = f"{module.name}:{imported.line}"
        place = module.name if module.name in MAY_IMPORT else module.room
        if room == place:
            continue
        allowed = MAY_IMPORT.get(place)
        if allowed is not None and not is_within(name, allowed):
            yield f"{where}: {place} may not import {name}, only {', '.join(sorted(allowed)) or 'nothing of worker68'}"
        elif room in DOORS and name not in FURNITURE and not module.is_in(DOORS[room]):
            yield f"{where}: {name} may be imported by {', '.join(sorted(DOORS[room]))} only"


def offences_of_libraries(module: Module) -> Iterator[str]:
    for imported in find_imports(module):
        places = THIRD_PARTIES.get(imported.library)
        if places is not None and not module.is_in(places):
            yield f"{module.name}:{imported.line}: {imported.library} stays in {', '.join(sorted(places))}"
        elif module.room == "jobs" and not is_free_for_jobs(imported.library):
            yield f"{module.name}:{imported.line}: jobs imports the standard library and msgspec only, not {imported.library}"


def offences_of_celery(module: Module) -> Iterator[str]:
    if module.is_in(CELERY_INSIDE):
        return
    for line, name in find_used_of_celery(module):
        yield f"{module.name}:{line}: {name} is no documented part of Celery; use celery_worker.internals"


def find_used_of_celery(module: Module) -> Iterator[tuple[int, str]]:
    """Yield what is used of Celery that it does not document."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] == "celery"]
            yield from ((node.lineno, name) for name in names if name not in CELERY_DOCUMENTED)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "celery":
            assert node.module is not None
            documented = CELERY_DOCUMENTED.get(node.module)
            if documented is None:
                yield node.lineno, node.module
            elif documented:
                names = [alias.name for alias in node.names if alias.name not in documented]
                yield from ((node.lineno, f"{node.module}.{name}") for name in names)
        elif isinstance(node, ast.Attribute) and node.attr in CELERY_INSIDE_ATTRIBUTES:
            yield node.lineno, node.attr


def is_free_for_jobs(library: str) -> bool:
    return library == "worker68" or library in JOBS_THIRD_PARTIES or library in sys.stdlib_module_names


def offences_of_building(module: Module) -> Iterator[str]:
    for line, call in find_calls(module):
        places = BUILDERS.get(call)
        if places is not None and not module.is_in(places):
            yield f"{module.name}:{line}: {call}(...) is called in {', '.join(sorted(places)) or 'no module'} only"


def offences_of_transactions(module: Module) -> Iterator[str]:
    if module.room != "store" or module.is_in(TRANSACTIONS):
        return
    if module.is_in({STATEMENTS}):
        for imported in find_imports(module):
            name = imported.name.removeprefix("worker68.")
            if name.startswith("store.") and not is_within(name, STATEMENTS_MAY_IMPORT):
                yield f"{module.name}:{imported.line}: a statement is given its connection, so it does not import {name}"
        return
    for line, name in find_takers_of_connections(module):
        yield f"{module.name}:{line}: {name} takes a connection: that belongs into {STATEMENTS}"


def find_takers_of_connections(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the functions that others may call with a connection."""
    for node in ast.parse(module.source).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            annotations = [ast.unparse(each.annotation) for each in node.args.args if each.annotation]
            if "Connection" in annotations:
                yield node.lineno, node.name


@dataclass(frozen=True)
class Size:
    """How large a class is."""

    line: int
    name: str
    fields: int
    parameters: int

    @property
    def is_too_large(self) -> bool:
        return self.fields > MOST_FIELDS or self.parameters > MOST_PARAMETERS


def find_sizes(module: Module) -> Iterator[Size]:
    """Yield each class with its fields, annotated in it or assigned on ``self``, and the parameters of its constructor."""
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.ClassDef):
            annotated = [each for each in node.body if isinstance(each, ast.AnnAssign) and is_field(each)]
            fields = {ast.unparse(each.target) for each in annotated} | find_assigned_on_self(node)
            in_constructor = (
                [each for each in annotated if "init=False" not in ast.unparse(each)]
                if is_built_of_fields(node)
                else []
            )
            yield Size(
                node.lineno,
                f"{module.name}.{node.name}",
                len(fields),
                max(len(in_constructor), count_parameters(node)),
            )


def is_built_of_fields(class_: ast.ClassDef) -> bool:
    """Whether the parameters of the constructor are the fields, as in a dataclass, a NamedTuple or a Struct of msgspec."""
    bases = {ast.unparse(base).rpartition(".")[2] for base in class_.bases}
    return bool(bases & BUILT_OF_FIELDS) or any("dataclass" in ast.unparse(each) for each in class_.decorator_list)


def is_field(assignment: ast.AnnAssign) -> bool:
    return isinstance(assignment.target, ast.Name) and "ClassVar" not in ast.unparse(assignment.annotation)


def find_assigned_on_self(class_: ast.ClassDef) -> set[str]:
    return {
        node.attr
        for node in ast.walk(class_)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }


def count_parameters(class_: ast.ClassDef) -> int:
    """Return how many parameters the constructor has besides ``self``."""
    for node in class_.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) - 1
    return 0


def offences_of_size(module: Module) -> Iterator[str]:
    if module.is_in(WIRING):
        return
    for size in find_sizes(module):
        if size.is_too_large and size.name not in RECORDS:
            yield (
                f"{module.name}:{size.line}: {size.name} has {size.fields} fields and a constructor with {size.parameters}"
                f" parameters; {MOST_FIELDS} and {MOST_PARAMETERS} are the most"
            )


def offences_of_form(module: Module) -> Iterator[str]:
    lines = module.source.count("\n")
    if lines > MOST_LINES:
        yield f"{module.name}: {lines} lines, more than {MOST_LINES}: it has two things in it"
    vague = FORBIDDEN_NAMES.intersection(module.name.split("."))
    if vague:
        yield f"{module.name}: a module is named by what it is about, not {vague.pop()!r}"
    if re.search(r"/(root|home)/", module.source):
        yield f"{module.name}: names a path of one machine"


def find_circle(modules: list[Module]) -> list[str]:
    """Return modules each of which imports the one before it, the first of them the last one; nothing if there is no circle."""
    names = {module.name for module in modules}
    imports = {
        module.name: {imported.name.removeprefix("worker68.") for imported in find_imports(module)} & names
        for module in modules
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def offences_of_tests(modules: set[Path], tests: set[Path]) -> Iterator[str]:
    """Yield what hides the tests of a module: who changes ``x/y.py`` looks for ``tests/.../x/test_y.py`` or ``test_y_*.py``."""
    tested = {module for test in tests for module in find_tested(test, modules)}
    for module in sorted(modules):
        other = COVERED_BY.get(module.as_posix())
        if module in tested and other is not None:
            yield f"{module}: has tests of its name, so it is not in COVERED_BY"
        elif module not in tested and other is None:
            yield f"{module}: no test_{module.stem}.py, and no other file of tests is named in COVERED_BY"
        elif other is not None and Path(other) not in tests:
            yield f"{module}: COVERED_BY names {other}, which is not there"
    for name in COVERED_BY.keys() - {module.as_posix() for module in modules}:
        yield f"{name}: is in COVERED_BY, but not in the package"


def find_tested(test: Path, modules: set[Path]) -> set[Path]:
    """Return the modules of its room whose name a file of tests has, or begins with: the longest name counts."""
    room = test.parent.parts[1:]
    name = f"{test.stem.removeprefix('test_')}_"
    found = {module for module in modules if module.parent.parts == room and name.startswith(f"{module.stem}_")}
    longest = max((len(module.stem) for module in found), default=0)
    return {module for module in found if len(module.stem) == longest}


RULES = (
    offences_of_rooms,
    offences_of_libraries,
    offences_of_celery,
    offences_of_building,
    offences_of_transactions,
    offences_of_size,
    offences_of_form,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_in_order(rule: object) -> None:
    assert callable(rule)
    offences = [offence for module in read_package() for offence in rule(module)]
    assert not offences, "\n" + "\n".join(offences)


def test_no_record_is_listed_that_need_not_be() -> None:
    too_large = {size.name for module in read_package() for size in find_sizes(module) if size.is_too_large}
    assert RECORDS.keys() - too_large == set()


def test_each_module_has_tests_by_its_name() -> None:
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")}
    tests = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert not (offences := list(offences_of_tests(modules, tests))), "\n" + "\n".join(offences)


@pytest.mark.parametrize(
    ("test", "tested"),
    [
        ("unit/execution/test_relay.py", {"execution/relay.py"}),
        ("integration/execution/test_relay_away.py", {"execution/relay.py"}),
        ("unit/tasks/test_sync_group_members.py", {"tasks/sync_group_members.py"}),
        ("unit/tasks/test_sync_groups_twice.py", {"tasks/sync_groups.py"}),
        ("unit/tasks/test_relay.py", set()),
        ("acceptance/test_relay.py", set()),
    ],
)
def test_a_file_of_tests_is_a_modules_by_its_name(test: str, tested: set[str]) -> None:
    names = ("execution/relay.py", "tasks/sync_group.py", "tasks/sync_groups.py", "tasks/sync_group_members.py")
    found = find_tested(Path(test), {Path(name) for name in names})
    assert {module.as_posix() for module in found} == tested


def test_no_import_leads_back() -> None:
    assert find_circle(read_package()) == []


def test_a_circle_is_found() -> None:
    """Also a long one, within a room or over several, with an import that is made late."""
    modules = [
        Module("store.jobs", "from worker68.store.engine import transaction"),
        Module("store.engine", "from worker68 import clock"),
        Module("clock", "def now():\n    import worker68.store.jobs"),
        Module("errors", ""),
    ]
    assert sorted(set(find_circle(modules))) == ["clock", "store.engine", "store.jobs"]
    assert find_circle(modules[1:]) == []


def test_the_locks_are_those_that_the_architecture_names() -> None:
    assert not (offences := list(offences_of_locks(read_package(), ARCHITECTURE.read_text()))), "\n".join(offences)


TABLE_OF_LOCKS = """
| `other/table.py`, `_lock` | above |
## What each lock guards
| lock | guards |
|---|---|
| `store/engine.py`, `_turns` | turns |
| `fleet/accounts.py`, `Accounts._lock` | rows |

## Next
| `other/table.py`, `_lock` | below |
"""
ACCOUNTS = Module("fleet.accounts", "class Accounts:\n    def __init__(self):\n        self._lock = threading.Lock()")
ENGINE = Module("store.engine", "def make(engine):\n    _turns[engine] = Lock()\n    loads = asyncio.Semaphore(2)")
SIMULATED = Module("simulator.knobs", "lock = threading.Lock()")


def test_documented_locks_are_no_offence() -> None:
    assert list(offences_of_locks([ACCOUNTS, ENGINE, SIMULATED], TABLE_OF_LOCKS)) == []


@pytest.mark.parametrize(
    ("modules", "complaint"),
    [
        ([ACCOUNTS], "store/engine.py _turns: is in docs/architecture.md, but not in the package"),
        ([ACCOUNTS, ENGINE, Module("clock", "wait(RLock())")], "clock.py line 1: docs/architecture.md does not say"),
        (
            [
                ACCOUNTS,
                ENGINE,
                Module("loop", "@dataclass\nclass Loop:\n    _room: Any = field(default_factory=Condition)"),
            ],
            "loop.py Loop._room: docs/architecture.md does not say",
        ),
        (
            [
                ACCOUNTS,
                ENGINE,
                Module("loop", "class Loop:\n    def run(self):\n        self._room = threading.Semaphore(2)"),
            ],
            "loop.py Loop._room: docs/architecture.md does not say",
        ),
        ([ACCOUNTS, *[ENGINE] * 4], "5 locks, more than 4"),
    ],
)
def test_an_offence_of_locks_is_found(modules: list[Module], complaint: str) -> None:
    found = list(offences_of_locks(modules, TABLE_OF_LOCKS))
    assert len(found) == 1
    assert complaint in found[0]


def find_stale_allowances(modules: list[Module]) -> Iterator[str]:
    """Yield each place of BUILDERS and DOORS that does not use what it may."""
    for module_uses, allowances in ((find_built, BUILDERS), (find_entered, DOORS)):
        used = [(module, what) for module in modules for what in module_uses(module)]
        for what, places in allowances.items():
            for place in sorted(places):
                if not any(found == what and module.is_in({place}) for module, found in used):
                    yield f"{place} may use {what}, and does not"


def find_built(module: Module) -> set[str]:
    return {call for _, call in find_calls(module)}


def find_entered(module: Module) -> set[str]:
    """Return the rooms of which a module imports something."""
    return {imported.name.removeprefix("worker68.").partition(".")[0] for imported in find_imports(module)}


def test_no_allowance_is_stale() -> None:
    assert not (stale := list(find_stale_allowances(read_package()))), "\n".join(stale)


def test_a_stale_allowance_is_found() -> None:
    stale = set(
        find_stale_allowances([Module("bridge.link", "threading.Thread()\nfrom worker68.runtime import Runtime")])
    )
    assert {"bridge.dial may use Thread, and does not", "celery_worker may use runtime, and does not"} <= stale
    assert "loop may use Thread, and does not" not in set(find_stale_allowances([Module("loop", "Thread()")]))


def test_the_house_was_looked_at() -> None:
    names = {module.name for module in read_package()}
    assert {"errors", "jobs.job", "store.engine", "__init__"} <= names


#: Wherever they are assigned: in the constructor, in a later method, two at once, or annotated.
TOO_MANY_FIELDS = """class Turns:
    a: int
    def __init__(self, b, *, c):
        self.b, self.c = b, c
        self.d: int = 0
        self.e = self.f = 0
    async def run(self):
        self.g += 1
        self.h = self.i = self.j = 0
        with self.b as self.k:
            self.b = self.c.other
"""

SEVEN_FIELDS_OF = "class Turns({}):\n" + "".join(f"    f{n}: int\n" for n in range(7))

# fmt: off
OFFENCES = [
    ("jobs.job", "import worker68.store.engine", "jobs may not import store.engine"),
    ("jobs.job", "from worker68 import clock", "jobs may not import clock"),
    ("jobs.job", "import structlog", "jobs imports the standard library and msgspec only"),
    ("store.engine", "from worker68.limits import limiter", "store may not import limits"),
    ("bridge.frames", "from worker68.execution.execute import run", "bridge may not import execution.execute"),
    ("execution.intake", "def f():\n    import worker68.broker.inbox", "execution.intake:2: execution may not import broker.inbox"),
    ("watchdog", "from worker68.runtime import Runtime", "runtime may be imported by"),
    ("embedded", "import worker68.cli.main", "cli.main may be imported by"),
    ("watchdog", "from worker68.simulator.server import serve", "simulator.server may be imported by"),
    ("fleet.accounts", "from worker68.execution.account import Account", "fleet may not import execution.account"),
    ("fleet.leases", "from worker68.bridge.link import Link", "fleet may not import bridge.link, only"),
    ("broker.inbox", "from worker68.scheduling import scheduler", "broker may not import scheduling"),
    ("scheduling.scheduler", "from worker68.store import jobs", "scheduling may not import store"),
    ("celery_worker.steps", "from worker68.cli import main", "celery_worker may not import cli"),
    ("settings", "from worker68 import clock", "settings may not import clock"),
    ("settings", "from worker68.limits.limiter import Limiter", "settings may not import limits.limiter"),
    ("limits.rates", "from worker68.settings import Settings", "limits.rates may not import settings"),
    ("bridge.url", "from worker68.bridge.link import Link", "bridge.url may not import bridge.link"),
    ("store.writer", "from worker68.observe.vitals import Vitals", "store may not import observe.vitals"),
    ("watchdog", "from worker68.observe import parts", "observe.parts may be imported by"),
    ("observe.outages", "from worker68.observe.parts import Parts", "observe.outages may not import observe.parts"),
    ("execution.dispatch", "import redis", "redis stays in"),
    ("execution.execute", "from sqlalchemy.orm import Session", "sqlalchemy stays in store"),
    ("limits.limiter", "from celery import Celery", "celery stays in"),
    ("celery_worker.steps", "from celery.worker import state", "celery.worker is no documented part of Celery"),
    ("celery_worker.control", "from celery.worker.control import nok", "celery.worker.control.nok is no documented part"),
    ("celery_worker.steps", "def f(worker):\n    return worker.pool_cls", "pool_cls is no documented part"),
    ("cli.flower", "from celery.bin.celery import celery", "celery.bin.celery is no documented part"),
    ("cli.flower", "import celery.bin.celery", "celery.bin.celery is no documented part"),
    ("bridge.session", "import websocket", "websocket stays in bridge.connection, bridge.dial"),
    ("bridge.connection", "import websockets", "websockets stays in simulator"),
    ("execution.relay", "redis.Redis.from_url(url)", "from_url(...) is called in"),
    ("execution.relay", "threading.Thread(target=run)", "Thread(...) is called in"),
    ("fleet.ownership", "lock = threading.Lock()", "Lock(...) is called in"),
    ("bridge.link", "lock = threading.Lock()", "Lock(...) is called in"),
    ("bridge.link", "news = threading.Condition()", "Condition(...) is called in"),
    ("bridge.link", "threading.Thread(target=run)", "Thread(...) is called in"),
    ("fleet.ownership", "lock: Any = field(default_factory=threading.Lock)", "Lock(...) is called in"),
    ("execution.execute", "engine = create_engine(url)", "create_engine(...) is called in store.engine only"),
    ("celery_worker.steps", "Bridges(settings)", "Bridges(...) is called in cli, runtime only"),
    ("store.jobs", "def end(connection: Connection) -> None: ...", "end takes a connection"),
    ("store.statements.jobs", "from worker68.store.engine import transaction", "does not import store.engine"),
    ("broker.pump", TOO_MANY_FIELDS, "broker.pump:1: broker.pump.Turns has 11 fields and a constructor with 2 parameters"),
    ("broker.pump", "@dataclass\nclass Turns:\n" + "".join(f" f{n}: int\n" for n in range(7)), "a constructor with 7 parameters"),
    ("broker.pump", SEVEN_FIELDS_OF.format("NamedTuple"), "a constructor with 7 parameters"),
    ("broker.pump", SEVEN_FIELDS_OF.format("msgspec.Struct, frozen=True"), "a constructor with 7 parameters"),
    ("broker.pump", "class Turns:\n    def __init__(self, a, b, c, *, d, e, f, g): ...", "a constructor with 7 parameters"),
    ("store.jobs", "\n" * 401, "401 lines"),
    ("store.utils", "", "not 'utils'"),
    ("store.jobs", "path = '/home/x'", "one machine"),
]
# fmt: on


@pytest.mark.parametrize(("name", "source", "complaint"), OFFENCES)
def test_an_offence_is_found(name: str, source: str, complaint: str) -> None:
    found = [offence for rule in RULES for offence in rule(Module(name, source))]
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("execution.relay", "import redis\nfrom worker68.store import outbox\nfrom worker68.errors import RedisAway"),
        ("celery_worker.steps", "from worker68.runtime import Runtime\nfrom celery import bootsteps"),
        ("observe.parts", "from worker68.observe.runs import Runs\nfrom worker68.broker.inbox import Inbox"),
        ("broker.inbox", "from worker68.observe.outages import Outage"),
        ("bridge.connection", "from websocket import WebSocket"),
        ("cli.demo", "from worker68.embedded import EmbeddedRedis\nimport worker68.simulator"),
        ("store.jobs", "def _end(connection: Connection) -> None: ...\nfrom worker68.store.statements import attempts"),
        ("store.statements.jobs", "def end(connection: Connection) -> None: ...\nfrom worker68.store import tables"),
        ("store.engine", "def end(connection: Connection) -> None: ..."),
        ("runtime", TOO_MANY_FIELDS),
        ("broker.pump", TOO_MANY_FIELDS.replace("    a: int", "    a: ClassVar[int]")),
        ("jobs.job", "import msgspec, datetime\nfrom worker68.jobs.task import Task"),
    ],
)
def test_what_is_allowed_is_no_offence(name: str, source: str) -> None:
    assert [offence for rule in RULES for offence in rule(Module(name, source))] == []
