"""The contracts of stores: small values under keys, each with a time to live; deployments; what processes share.

Every store passes ``tests/contract/test_stores.py``, every one of deployments ``test_model_stores.py``, every board
``test_boards.py``. Values are bytes; what they mean is their owner's affair.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from penstock.core.route.spent import Known, Told


class Store(Protocol):
    """Small values under keys. ``put`` replaces what was there. ``ttl``: seconds until the value is gone, None = until
    deleted. ``get``: None when there is nothing, or no longer. ``delete``: whether there was something. Raises
    ``OSError`` when the store cannot be reached; a store never loses a value that it accepted before its time, except
    where its docstring names a bound."""

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...
    async def get(self, key: str) -> bytes | None: ...
    async def delete(self, key: str) -> bool: ...
    async def close(self) -> None: ...


class StoredModel(msgspec.Struct, frozen=True):
    """A deployment that somebody gave while the gateway ran. ``entry``: as an entry of ``model_list``, in JSON; it may
    hold credentials. ``version``: 1 for a new one, one more with each change. Times are seconds since 1970."""

    id: str
    entry: bytes
    version: int
    created_at: float
    created_by: str
    updated_at: float
    updated_by: str

    def __repr__(self) -> str:
        return f"StoredModel({self.id!r}, version={self.version})"

    @property
    def history(self) -> dict[str, str]:
        """Return who made and changed it and when, as LiteLLM writes it."""
        return {
            "created_at": _time(self.created_at),
            "created_by": self.created_by,
            "updated_at": _time(self.updated_at),
            "updated_by": self.updated_by,
        }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class StoredModels(NamedTuple):
    """All that is stored, in the order in which it came, and the ``revision`` of all of it. ``credentials``: values by
    name, which entries may mean by ``litellm_credential_name``."""

    revision: int
    models: tuple[StoredModel, ...]
    credentials: Mapping[str, Mapping[str, object]] = {}


class Outdated(Exception):
    """A model is not what its writer thought it is: somebody else was faster."""


class ModelStore(Protocol):
    """Deployments by id, each kept as it was given. ``lasts``: whether they are still there after a restart of the
    gateway. ``shared``: whether other processes change it, too. ``revision`` is another one after each change, by
    whomever; asking for it costs next to nothing. ``put`` takes a ``model`` of version 1 only if its id is free, and
    one of version n only in the place of version n - 1; else it raises ``Outdated``, and nothing has changed.
    ``delete``: whether there was one; ``who``: deletes it. All raise ``OSError`` when the store cannot be reached, or
    takes no more."""

    @property
    def lasts(self) -> bool: ...
    @property
    def shared(self) -> bool: ...
    async def revision(self) -> int: ...
    async def read_all(self) -> StoredModels: ...
    async def put(self, model: StoredModel) -> None: ...
    async def delete(self, id: str, who: str = "") -> bool: ...
    async def close(self) -> None: ...


class Row(msgspec.Struct, frozen=True):
    """Something that is managed: a key, a team, a user. ``kind`` is one of ``kinds.KINDS``; ``body``: its fields, a
    JSON object with LiteLLM's names. ``version``: 1 for a new one, one more with each change. Times are seconds since
    1970."""

    kind: str
    id: str
    body: bytes
    version: int = 1
    created_at: float = 0.0
    created_by: str = ""
    updated_at: float = 0.0
    updated_by: str = ""

    def __repr__(self) -> str:
        return f"Row({self.kind!r}, {self.id!r}, version={self.version})"


class Gone(NamedTuple):
    """A row that is to be deleted, of that version, or that was."""

    kind: str
    id: str
    version: int


class Changes(NamedTuple):
    """What changed up to a ``revision``: rows as they are now, and those that are gone."""

    revision: int
    rows: tuple[Row, ...]
    gone: tuple[Gone, ...] = ()


class Found(NamedTuple):
    """A page of rows, and how many there are in all."""

    rows: tuple[Row, ...]
    total: int


class Audited(msgspec.Struct, frozen=True):
    """Who changed what: kept with the change, in one transaction. ``before`` and ``after``: bodies without secrets, b""
    for none."""

    id: str
    at: float
    who: str
    action: str  # "created", "updated", "deleted", "blocked", "regenerated"
    kind: str
    row: str
    before: bytes = b""
    after: bytes = b""


class Directory(Protocol):
    """Whatever is managed, by kind and id. ``lasts``: whether it is there after a restart. ``shared``: whether other
    processes change it, too.

    ``revision`` is one more after each ``write``, by whomever; asking costs next to nothing. ``since``: what changed
    after a revision; since 0: everything there is (and maybe what is gone). ``find``: rows whose columns
    (``kinds.KINDS``) are equal to those of ``where`` (a tuple: to one of them; None: to nothing at all), ``like``: or
    contain a text, in the order of a column, or of their making; ``limit`` None: all.
    ``write``: all of it or nothing: a new row of version 1 whose id is free, a row of version n in the place of version
    n - 1, a ``Gone`` of the version that is there; else ``Outdated``. ``Taken``, where a column that must be one of a
    kind is not. Returns the revision. ``audits``: the newest first. All raise ``OSError`` when it cannot be reached."""

    @property
    def lasts(self) -> bool: ...
    @property
    def shared(self) -> bool: ...
    async def revision(self) -> int: ...
    async def since(self, revision: int) -> Changes: ...
    async def get(self, kind: str, id: str) -> Row | None: ...
    async def find(
        self,
        kind: str,
        where: Mapping[str, object] | None = None,
        like: Mapping[str, str] | None = None,
        order: str = "created_at",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> Found: ...
    async def write(self, changes: Sequence[Row | Gone], audits: Sequence[Audited] = ()) -> int: ...
    async def audits(
        self, where: Mapping[str, object] | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[tuple[Audited, ...], int]: ...
    async def close(self) -> None: ...


class Spent(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A request as the ledger keeps it: what was used, what it cost, who pays. Kept once per ``call_id``, whatever
    happens. ``cost``: picodollars. ``accounts``: whom it is charged to, as ``kind:id``, also those that have no cap.
    ``usage``: the provider's own figures, JSON. ``estimated``: counted here, since the provider said nothing.
    ``pending``: it was under way when its process died, and what it cost at most is charged until somebody knows
    better. New fields go to the end: older entries are read without them."""

    call_id: str
    at: float  # when it ended, unix time
    began: float
    # What many requests have in common: they stand together, so that ``batch`` finds them as one run of bytes.
    kind: str  # of the operation, as LiteLLM's ``call_type``: "acompletion", "aembedding"
    key: str = ""
    team: str = ""
    user: str = ""
    organization: str = ""
    customer: str = ""
    tags: tuple[str, ...] = ()
    model: str = ""  # as the client named it
    group: str = ""
    target: str = ""  # the deployment's model as its provider knows it
    target_id: str = ""
    provider: str = ""
    address: str = ""  # of the upstream, without secrets
    price_version: str = ""
    estimated: bool = False
    pending: bool = False
    cache_hit: bool = False
    cache_key: str = ""
    stream: bool = False
    status: int = 0
    error: str = ""
    path: str = ""
    accounts: tuple[str, ...] = ()
    # What each has for itself.
    cost: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    message: str = ""
    tries: int = 0
    ms: float = 0.0
    first_ms: float | None = None
    request_id: str = ""  # of the answer, as LiteLLM's ``request_id``
    client: str = ""  # address
    session: str = ""
    usage: bytes = b""
    metadata: bytes = b""  # what the request said for the log, JSON
    way: bytes = b""  # the attempts of the call and its times, JSON, see ``runtime/ways``


class SpentPage(NamedTuple):
    """Some requests, and how many there are in all, as far as that is counted."""

    rows: tuple[Spent, ...]
    total: int


class SpentTexts(Spent, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """An entry with what its request asked and was answered, as they went over the wire; ``form``: in which they
    are. Whoever reads it as ``Spent`` reads all but that."""

    request: bytes = b""
    response: bytes = b""
    form: str = ""


class KeptTexts(NamedTuple):
    """What a request asked and was answered, as it is kept: JSON, b"" for nothing."""

    call_id: str
    request: bytes
    response: bytes


class Begun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request that is under way, with what is needed of it should its process die: the fields of ``Spent``."""

    call_id: str
    at: float
    kind: str
    key: str
    team: str
    user: str
    organization: str
    customer: str
    tags: tuple[str, ...]
    model: str
    cost: int
    stream: bool
    client: str
    path: str
    accounts: tuple[str, ...]

    def spent(self) -> Spent:
        """Return the pending entry that it stands for."""
        return Spent(began=self.at, pending=True, **msgspec.structs.asdict(self))


CORRECTION = "correction"
"""The ``kind`` of an entry that is no request: somebody set what an account has spent. Its cost is what is missing to
that, or too much; days do not count it."""


RECOMPUTED = "spend_recomputed"
"""The note that changes whenever what was spent is another amount than processes that serve were told."""


class Total(NamedTuple):
    """What an account has spent since a time: ``period`` "" and ``start`` 0: ever. ``amount``: picodollars."""

    account: str
    period: str
    start: float
    amount: int


class SpendStore(Protocol):
    """What was spent. ``append``: keep entries; those whose ``call_id`` is known change nothing, but for one that was
    pending, which is replaced. With them, in the same transaction: the totals of their accounts in the ``periods`` that
    are told for each, the sums per day, and how far the journal was read (``mark``: journal -> position). ``totals``:
    of the accounts that are asked for. ``marks``: the positions. ``latest``: the time at which the last of all entries
    ended, 0.0 for none: a clock that was ahead may have been behind it. ``keep_texts``: keep what requests asked and
    were answered, whose entries follow; again, it changes nothing. All raise ``OSError`` when it cannot be reached."""

    async def append(
        self, entries: Sequence[Spent], periods: Mapping[str, Sequence[str]], mark: Mapping[str, int]
    ) -> None: ...
    async def keep_texts(self, texts: Sequence[KeptTexts]) -> None: ...
    async def totals(self, asked: Sequence[tuple[str, str, float]]) -> list[Total]: ...
    async def amounts(self, accounts: Sequence[str], period: str, start: float) -> list[int]: ...
    async def marks(self) -> Mapping[str, int]: ...
    async def latest(self) -> float: ...


class Want(NamedTuple):
    """What a process asks of a cap that several share. ``until``: unix time after which nobody asks again, inf: never.
    ``cap``, ``base`` (what was spent before anybody shared it) and amounts: picodollars. ``granted``: what the process
    has been granted so far, less what it gives back; ``spent``: what of that it has spent. ``need``: what it asks for
    beyond; ``more``: what it would take on top."""

    account: str
    period: str
    start: float
    until: float
    cap: int
    base: int
    granted: int
    spent: int
    need: int = 0
    more: int = 0


class Got(NamedTuple):
    """What a process has been granted then, in all; what all processes have been; and how many have been something."""

    granted: int
    used: int
    processes: int


class Answered(NamedTuple):
    """The answer to a question: whether all of it was granted, and how each of its wants stands."""

    granted: bool
    caps: Sequence[Got]


class Pot(Protocol):
    """Caps that several processes share: each is granted slices of them, never more in all than there is.

    ``take``: for each question, its wants are granted all together or not at all; in order, and in one step that nobody
    interrupts. Says what the process has already, so it can be said again after an error.
    ``mark``: how far the process's journal had come; ``marks_of``: how far, when it last asked about each (account,
    period, start). ``bury``: a process is gone, and had ``paid`` so much behind these marks: what else it was granted
    is free again. All raise ``OSError`` when it cannot be reached."""

    async def take(self, process: str, mark: str, questions: Sequence[Sequence[Want]]) -> list[Answered]: ...
    async def marks_of(self, process: str) -> Mapping[tuple[str, str, float], str]: ...
    async def bury(self, process: str, paid: Mapping[tuple[str, str, float], int]) -> None: ...


class Taken(Exception):
    """A value that only one row of its kind may have is another's. ``column``: which."""

    def __init__(self, kind: str, column: str) -> None:
        super().__init__(f"{kind}.{column} is taken")
        self.kind, self.column = kind, column


class Answers(Protocol):
    """Where answers are kept for those who ask the same again: a cache, which may forget whatever it likes, whenever it
    likes. ``put`` replaces; ``ttl``: seconds until the answer is gone, None = until there is no room. ``delete``: how
    many there were. ``flush`` forgets all that this gateway kept there, and nothing else's. ``ping`` does nothing but
    ask. ``info``: figures for an operator. Raises ``OSError``, and nothing else, when it cannot be reached.

    ``at_once``: nothing of it ever waits, so nobody needs a time limit. Each passes ``tests/contract/test_answers.py``.
    """

    at_once: bool

    async def get(self, key: str) -> bytes | None: ...
    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...
    async def delete(self, keys: Sequence[str]) -> int: ...
    async def flush(self) -> None: ...
    async def ping(self) -> None: ...
    async def info(self) -> Mapping[str, object]: ...
    async def close(self) -> None: ...


class Near(NamedTuple):
    """An answer to a question that is like another one. ``likeness``: the cosine of their vectors."""

    key: str
    likeness: float


class CannotCompare(OSError):
    """A place keeps answers, and cannot compare questions: it has no search, or other vectors. The message says why."""


class NearAnswers(Answers, Protocol):
    """Answers that are found by questions like theirs, too. ``put_near`` is ``put`` with the question's vector; one
    with another ``scope`` never meets it, and that is judged before any vector is. ``nearest``: the answers of a scope
    that are nearest to a vector, at most ``MOST_NEAR``, the nearest first. A ``scope`` is letters and digits; a
    ``vector`` is of length 1. ``search_ready`` does nothing but ask whether it could. These three raise
    ``CannotCompare``, too. Each passes ``tests/contract/test_near_answers.py``."""

    async def put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None: ...
    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]: ...
    async def search_ready(self) -> None: ...


MOST_NEAR = 4


class Mark(NamedTuple):
    """Something that holds for a while: a deployment rests, a key is dead. ``kind`` and ``key``: what is marked;
    ``value``: why; ``seconds``: how long it holds from now on."""

    kind: str
    key: str
    value: str
    seconds: float


class Figure(NamedTuple):
    """How quick a deployment is. ``key``: its live id; ``stream``: to the first byte of streams, else of whole answers;
    ``value``: as ``core.route.standing`` counts it; ``age``: seconds since it was seen."""

    key: str
    stream: bool
    value: float
    age: float


class Board(Protocol):
    """What several processes know together. All raise ``OSError`` when it cannot be reached.

    ``where``: what people call it. ``tell``: write marks down; of two of the same kind and key the one that holds
    longer stays. ``marks``: those that hold now. ``changes``: yield None once it listens, from then on each mark that
    somebody tells (also the listener's own).

    ``count``: say what this process has counted in a window so far, by name, and learn what all have, in the same
    order. ``process``: letters and digits. ``seconds``: that its windows take; those of another length are others. As
    it is the whole count each time, saying it twice counts it once, and a board that forgot is told again. A window is
    forgotten ``KEEP_WINDOWS`` of its lengths after its last count.

    ``spend``: say what is spent in the window of a budget, and learn what is known of it; None while nothing is. Of
    each name the larger amount stays. Of two windows that are not over the one that began first is the one of both;
    what belongs to one that is over, or nearly (``slack_of``), is not taken.

    ``compare``: tell figures, of two of the same deployment the younger stays, and learn all that are younger than
    ``age`` seconds. Forgotten after ``HOLD`` seconds."""

    where: str

    async def tell(self, marks: Sequence[Mark]) -> None: ...
    async def marks(self) -> list[Mark]: ...
    def changes(self) -> AsyncGenerator[Mark | None, None]: ...
    async def count(
        self, window: int, process: str, counts: Sequence[tuple[str, int]], seconds: float = 60.0
    ) -> list[int]: ...
    async def spend(self, told: Told) -> Known | None: ...
    async def compare(self, figures: Sequence[Figure], age: float) -> list[Figure]: ...
    async def close(self) -> None: ...


WINDOW = 60.0  # seconds in which requests and tokens are counted together
KEEP_WINDOWS = 2
NEWS = 0.25  # seconds that a mark must hold longer than the one before, to be worth telling
HOLD = 3600.0  # seconds that a latency counts where nobody says otherwise


def slack_of(period: int) -> int:
    """Return the ms by which processes may differ about the begin of a budget's window, for the time that a message
    takes; in so many before its end another window is not joined with it."""
    return min(1000, period // 10)
