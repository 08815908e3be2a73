"""The settings: from the environment (prefix ``WORKER68_``) and a TOML file, checked before anything starts.

In: environment and file; the environment wins. Out: ``Settings`` and, for each account, ``AccountSettings``. Every wrong value
becomes one line that says which setting, what is wrong and what would be right (``SettingsError``).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from worker68.bridge.url import address_of, check_bridge_url
from worker68.broker.url import check_redis_url
from worker68.config_file import read_config_file
from worker68.durations import check_a_second, check_length, parse_optional_seconds, parse_seconds
from worker68.errors import SettingsError
from worker68.jobs.permission import Permissions, check_api_path, check_file_root, check_task
from worker68.limits.rates import Limits, parse_limits
from worker68.limits.slow_downs import DEFAULT_RULES, Rules, parse_slow_downs
from worker68.protocol.api import DOCUMENTED

PREFIX = "WORKER68_"
_ACCOUNT = re.compile(r"[a-z0-9_-]{1,64}")


Length = Annotated[float, BeforeValidator(parse_seconds), AfterValidator(check_length)]
OptionalLength = Annotated[float | None, BeforeValidator(parse_optional_seconds), AfterValidator(check_length)]
BridgeUrl = Annotated[str, AfterValidator(check_bridge_url)]
#: What is not on by default may be switched off by name.
_OR_OFF = BeforeValidator(lambda value: None if value == "off" else value)
OptionalPort = Annotated[Annotated[int, Field(ge=1, le=65535)] | None, _OR_OFF]
OptionalFile = Annotated[Path | None, _OR_OFF]
#: A time of Redis's in whole seconds, or a lease, which is renewed three times within it.
LongEnough = Annotated[Length, AfterValidator(check_a_second)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Weight = Annotated[int, Field(ge=1, le=1000)]
Label = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


class PerAccount(BaseModel):
    """The settings that may also stand in one account's table (contract, section 3)."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    limits: dict[str, Any] | str = Field(
        default_factory=dict,
        description=(
            "At most so many writes in a time, for the account, for each chat, and for sends, moderation and "
            'reads: `{"account": "60/m", "chat": "20/m+3"}`. `N/s`, `N/m` or `N/h`; `+B`: up to B at once; '
            '`"off"` for one of them or for all. An account\'s table replaces the limits that it names'
        ),
    )
    confirm: Literal["verdict", "reply", "write"] = Field(
        default="verdict",
        description=(
            "What proves that a message was sent: `verdict` (the bridge's event about the message), `reply` "
            "(the direct reply to the call) or `write` (the frame was written)"
        ),
    )
    verdict_timeout: Length = Field(default=30.0, description="How long a send waits for its proof")
    verdict_match: Literal["auto", "id", "chat"] = Field(
        default="auto",
        description=(
            "How a verdict is matched with its send. `id`: by `custom_msg_id`. `chat`, for older bridges: by "
            "the only send under way in that chat; `custom_msg_id` is then not written. `auto`: by id; by "
            "chat, and only together with the echo of the same text, as long as the bridge has never given "
            "back an id of ours"
        ),
    )
    newline: Literal["escaped", "raw"] = Field(
        default="escaped",
        description="How a line break in a message is written: `escaped` (backslash and n) or `raw`",
    )
    check_texts: bool = Field(
        default=True,
        description=(
            "true: a text that the 68 client never sends (spaces left out it contains `eval(`, `child_process`, `.exec` or "
            "`atob(`) is `invalid_job`. false: it is written all the same, and is in doubt if the client drops it"
        ),
    )
    slow_downs: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            'What an error of the bridge slows down, by its code. The default: `{"300": {"slows": "call", '
            '"share": 0.5, "longest_pause": "60s"}}`. `slows`: `call`, its kind of call alone, and the account '
            "where it answers a send, or where calls of two kinds were answered so within a minute; or `account`. "
            "`share`: what is left of the pace. `longest_pause`: where it stays busy a probe goes at least so often. "
            "A read or a change that meets such an error is tried again, a message after 300 alone. An account's table adds "
            "rules or replaces them"
        ),
    )
    max_in_flight: Count = Field(default=8, description="Jobs at once of one account")
    max_waiting: Count = Field(
        default=200_000,
        description=(
            "Jobs of one account that wait in the database. Beyond it the account's queue stays in Redis. "
            "Moderation is taken in all the same"
        ),
    )
    max_age: OptionalLength = Field(
        default=None, description="A job that has waited longer when its turn comes is `expired`"
    )
    allowed_tasks: list[Annotated[str, AfterValidator(check_task)]] | None = Field(
        default=None,
        description='The tasks that the account takes, as full names: `["worker68.send_message"]`',
    )
    experimental_tasks: list[Annotated[str, AfterValidator(check_task)]] = Field(
        default_factory=list,
        description=(
            'The experimental tasks that the account takes, as full names: `["worker68.rename_group"]`. They '
            "rest on reports about the bridge alone, not on its documentation"
        ),
    )
    allowed_file_roots: list[Annotated[str, AfterValidator(check_file_root)]] = Field(
        default_factory=list,
        description=(
            'Folders of the bridge\'s machine below which `send_file` may read: `["C:/outbox"]`. Without one '
            "every `send_file` is `not_permitted`: any producer could read the account holder's disk. Paths "
            "are compared as Windows compares them (`/` and `\\`, case, `..`). worker68 cannot "
            "see where a link leads"
        ),
    )
    allowed_paths: list[Annotated[str, AfterValidator(check_api_path)]] = Field(
        default_factory=lambda: list(DOCUMENTED),
        description=(
            'Paths of the service\'s API that `request` may call, letter by letter: `["/group/groupDetail"]`; '
            "never a host. A list of your own replaces the default; `[]`: none"
        ),
    )


class AccountTable(PerAccount):
    """One account's table."""

    bridge_url: BridgeUrl
    label: Label | None = None


@dataclass(frozen=True)
class AccountSettings:
    """What holds for one account: its own table over the general settings. Lengths of time are seconds."""

    name: str
    bridge_url: str
    limits: Limits
    confirm: Literal["verdict", "reply", "write"]
    verdict_timeout: float
    reply_timeout: float
    verdict_match: Literal["auto", "id", "chat"]
    newline: Literal["escaped", "raw"]
    check_texts: bool
    slow_downs: Rules
    max_in_flight: int
    max_waiting: int
    max_age: float | None
    permissions: Permissions
    label: str | None = None


class Settings(PerAccount, BaseSettings):
    """All settings. Lengths of time are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    redis_url: Annotated[str, AfterValidator(check_redis_url)] | None = Field(
        default=None,
        description=(
            "`redis://USER:PASSWORD@HOST:PORT/DB`, percent-encoded, or `sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/DB` "
            "for [sentinels](redis.md#sentinels). With TLS `rediss://`, `sentinels://`: a query may hold `ssl_cert_reqs`, "
            "`ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`. The rights that the user needs: [redis.md](redis.md#rights)"
        ),
    )
    database_url: str = Field(
        default="sqlite:///worker68.db",
        description=(
            "`postgresql+psycopg://USER:PASSWORD@HOST/NAME` in production (UTF8; [PgBouncer works](database.md#which-database)), "
            "with libpq's options as its query; `HOST:PORT,HOST:PORT` for [a failover](database.md#failover). SQLite: one host"
        ),
    )
    bridge_url: BridgeUrl | None = Field(default=None, description="The bridge of the account `main`")
    accounts: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description=(
            '`{"shop": {"bridge_url": "ws://…", …}}`, or `[accounts.shop]` in the file. Each account has a '
            'bridge of its own. `"label": "berlin"`: only workers whose `LABELS` name it hold the account. Accounts may also '
            "[stand in the database](operations.md#accounts-without-a-restart)"
        ),
    )
    reply_timeout: Length = Field(default=15.0, description="How long a call waits for its reply")
    concurrency: Count = Field(default=128, description="Jobs at once in one worker")
    weight: Weight = Field(
        default=1,
        description=(
            "How many accounts this worker holds in proportion to the others, 1 to 1000: of weight 2 twice as many as of weight 1"
        ),
    )
    labels: list[Label] = Field(
        default_factory=list,
        description=(
            'The labels of accounts that this worker may hold beside those without a label: `["berlin"]`, on the '
            "hosts that alone reach these bridges"
        ),
    )
    lease_ttl: LongEnough = Field(default=10.0, description="How long an account stays with a worker that has died")
    keep_text: OptionalLength = Field(default=None, description="Accepted and checked, but without effect yet")
    reply_ttl: LongEnough = Field(
        default=7 * 86400.0, description="How long unread replies and Celery results are kept"
    )
    metrics_port: OptionalPort = Field(
        default=None,
        description="Prometheus on this port, another one for each worker of a host: [metrics.md](metrics.md)",
    )
    health_file: OptionalFile = Field(
        default=None,
        description="The worker touches this file every 5 s while it is well; for `worker68 health`",
    )
    log_format: Literal["json", "text"] | None = Field(default=None, description="`json` or `text`")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_content: bool = Field(default=False, description="true: `worker68 jobs show` shows message text. Logs never do")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    def require_redis_url(self) -> str:
        """Return ``REDIS_URL``; raise ``SettingsError`` if it is not set."""
        if self.redis_url is None:
            raise SettingsError(f"{PREFIX}REDIS_URL is not set; expected something like redis://127.0.0.1:6379/0")
        return self.redis_url

    def account_settings(self) -> dict[str, AccountSettings]:
        """Return the settings of each account that stands in them; raise ``SettingsError`` for a wrong table."""
        _ = self._general  # also where there is no account
        names = [*self.accounts, *(["main"] if self.bridge_url is not None and "main" not in self.accounts else [])]
        accounts = {name: self.account_of(name, self.table_of(name), f"{PREFIX}ACCOUNTS[{name!r}]") for name in names}
        _refuse_shared_bridges(accounts)
        return accounts

    def table_of(self, name: str) -> dict[str, Any]:
        """Return the table of an account as it stands in the settings, empty where it has none."""
        shorthand = {"bridge_url": self.bridge_url} if name == "main" and self.bridge_url is not None else {}
        return shorthand | self.accounts.get(name, {})

    def account_of(self, name: str, table: Mapping[str, Any], where: str) -> AccountSettings:
        """Return what holds for an account with this table; raise ``SettingsError`` for a wrong one. ``where`` it stands."""
        if not _ACCOUNT.fullmatch(name):
            raise SettingsError(f"{where}: an account's name has 1 to 64 of a-z, 0-9, _ and -")
        general = {key: getattr(self, key) for key in PerAccount.model_fields if key not in ("limits", "slow_downs")}
        try:
            checked = AccountTable.model_validate({**general, **table})
        except ValidationError as error:
            raise SettingsError(_describe(error, AccountTable, lambda field: f"{where}.{field}")) from None
        general_limits, general_rules = self._general
        try:
            limits = parse_limits(checked.limits, general_limits)
        except ValueError as error:
            raise SettingsError(f"{where}.limits: {error}") from None
        try:
            slow_downs = parse_slow_downs(checked.slow_downs, general_rules)
        except ValueError as error:
            raise SettingsError(f"{where}.slow_downs: {error}") from None
        tasks = checked.allowed_tasks
        permissions = Permissions(
            tasks=frozenset(tasks) if tasks is not None else None,
            experimental=frozenset(checked.experimental_tasks),
            file_roots=tuple(checked.allowed_file_roots),
            paths=frozenset(checked.allowed_paths),
        )
        return AccountSettings(
            name=name,
            bridge_url=checked.bridge_url,
            limits=limits,
            confirm=checked.confirm,
            verdict_timeout=checked.verdict_timeout,
            reply_timeout=self.reply_timeout,
            verdict_match=checked.verdict_match,
            newline=checked.newline,
            check_texts=checked.check_texts,
            slow_downs=slow_downs,
            max_in_flight=checked.max_in_flight,
            max_waiting=checked.max_waiting,
            max_age=checked.max_age,
            permissions=permissions,
            label=checked.label,
        )

    @cached_property
    def _general(self) -> tuple[Limits, Rules]:
        """The limits and rules that an account's table replaces in part."""
        try:
            limits = parse_limits(self.limits)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}LIMITS: {error}") from None
        try:
            return limits, parse_slow_downs(self.slow_downs, DEFAULT_RULES)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}SLOW_DOWNS: {error}") from None


def _refuse_shared_bridges(accounts: Mapping[str, AccountSettings]) -> None:
    """Two accounts at one bridge would be one chat account with twice the limits, on two connections."""
    names: dict[tuple[str, ...], str] = {}
    for name, account in accounts.items():
        first = names.setdefault(address_of(account.bridge_url), name)
        if first != name:
            raise SettingsError(f"{PREFIX}ACCOUNTS: {same_bridge(first, name)} ({PREFIX}BRIDGE_URL is that of 'main')")


def same_bridge(first: str, name: str) -> str:
    """Say what is wrong with two accounts that have one bridge."""
    return (
        f"the accounts {first!r} and {name!r} have the same bridge_url; one bridge is one account: remove one of them, "
        "or give it a bridge of its own"
    )


def load_settings() -> Settings:
    """Return the settings of this process; raise ``SettingsError`` with one line for what is wrong."""
    environment = {name: value for name, value in os.environ.items() if value}
    _refuse_unknown_names(environment)
    fields = {name.lower().removeprefix(PREFIX.lower()) for name in environment if name.upper().startswith(PREFIX)}
    path = environment.get(f"{PREFIX}CONFIG")
    try:
        settings = Settings(**(read_config_file(path, fields) if path else {}))
    except ValidationError as error:
        raise SettingsError(_describe(error, Settings, _variable)) from None
    except SourceError as error:
        field = re.search(r'"(\w+)"', str(error))
        name = PREFIX + field[1].upper() if field else "a setting"
        raise SettingsError(f"{name}: expected JSON, because it is a list or a table") from None
    settings.account_settings()
    return settings


#: What Kubernetes puts into the environment of its own accord beside a service that is called worker68.
_SERVICE_LINK = re.compile(rf"^{PREFIX}(SERVICE_(HOST|PORT)|PORT)(_|$)")


def _refuse_unknown_names(environment: Mapping[str, str]) -> None:
    known = {_variable(field) for field in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    unknown = sorted(
        name for name in environment if name.startswith(PREFIX) and name not in known and not _SERVICE_LINK.match(name)
    )
    if unknown:
        fields = [name.removeprefix(PREFIX).lower() for name in unknown]
        raise SettingsError("; ".join(_no_such_setting(field, Settings, _variable) for field in fields))


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _no_such_setting(field: str, model: type[PerAccount], name_of: Callable[[str], str]) -> str:
    near = difflib.get_close_matches(field, model.model_fields, n=1, cutoff=0.8)
    hint = f"; did you mean {name_of(near[0]).rpartition('.')[2]}?" if near else ""
    if field in Settings.model_fields:
        hint = " of an account, only of a worker"
    return f"{name_of(field)}: no such setting{hint}"


def _describe(error: ValidationError, model: type[PerAccount], name_of: Callable[[str], str]) -> str:
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        field = str(item["loc"][0]) if item["loc"] else "settings"
        if item["type"] == "extra_forbidden":
            problems.append(_no_such_setting(field, model, name_of))
            continue
        problem = item["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        got = "" if "url" in field else f" (got {str(item['input'])[:60]!r})"
        problems.append(f"{name_of(field)}: {problem}{got}")
    return "; ".join(dict.fromkeys(problems))
