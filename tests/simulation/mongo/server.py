"""The store itself: collections, unique indexes, rules, and transactions on snapshots.

A transaction locks what it writes; who comes second gets a write conflict. One whose client is
gone lives for `transactionLifetimeLimitSeconds` and a little more, as in mongod.
"""

import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final

from pymongo.errors import OperationFailure

from mercato.platform.mongo import Shape
from tests.simulation.mongo.documents import Document, Rule, Stored, matches, rule

Docs = dict[Any, Stored]
LIFETIME_S: Final = 2.0
LIFETIME_LATE_S: Final = 1.0  # how much later mongod may notice
REPLICATED_S: Final = 0.2  # what is not written to a majority is lost in a fail-over until then

TRANSIENT: Final = {"errorLabels": ["TransientTransactionError"]}


class Blocked(Exception):
    """Another transaction holds what a plain write wants: wait for its end."""


class Duplicate(Exception):
    """A unique key is taken."""

    def __init__(self, index: str, pattern: Mapping[str, Any], key: Mapping[str, Any]) -> None:
        super().__init__(f"E11000 duplicate key error index: {index} dup key: {key!r}")
        self.pattern = dict(pattern)
        self.key = dict(key)


class Invalid(Exception):
    """A document breaks its collection's rule."""


class Unique:
    """A unique index, maybe over part of the documents only."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self.name: str = description["name"]
        self.pattern = dict(description["key"])
        self.part: Mapping[str, Any] = description.get("partialFilterExpression", {})

    def key(self, data: Mapping[str, Any]) -> tuple[Any, ...] | None:
        if not matches(data, self.part):
            return None
        return tuple(data.get(name) for name in self.pattern)


_RULES: Final[dict[int, Rule]] = {}


def _rule(shape: Shape) -> Rule:
    """Returns the shape's rule, which is made once for all seeds."""
    if id(shape) not in _RULES:
        _RULES[id(shape)] = rule(shape.schema or {})
    return _RULES[id(shape)]


class Transaction:
    """A snapshot with writes of its own; `docs` is what it sees."""

    def __init__(self, server: "Server", safe: bool) -> None:
        self._server = server
        self.safe = safe
        self.docs: dict[str, Docs] = {n: dict(docs) for n, docs in server.docs.items()}
        self.writes: dict[tuple[str, Any], Stored | None] = {}
        self.locks: list[Hashable] = []
        self.state = "open"
        late_s = server.chance.random() * LIFETIME_LATE_S
        self._until = server.time() + LIFETIME_S + late_s

    def lives(self) -> bool:
        if self.state == "open" and self._server.time() > self._until:
            self.abort()
        return self.state == "open"

    def lock(self, key: Hashable) -> None:
        holder = self._server.holder(key)
        if holder is None:
            self._server.locks[key] = self
            self.locks.append(key)
        elif holder is not self:
            self.conflict()

    def conflict(self) -> None:
        self.abort()
        raise OperationFailure("WriteConflict", 112, {**TRANSIENT, "code": 112})

    def abort(self) -> None:
        if self.state == "open":
            self.end("aborted")

    def end(self, state: str) -> None:
        self.state = state
        for key in self.locks:
            del self._server.locks[key]


class Server:
    """All collections of a database; `committed` hears of every change that everybody sees."""

    def __init__(self, chance: random.Random, time: Callable[[], float]) -> None:
        self.chance = chance
        self.time = time
        self.docs: dict[str, Docs] = {}
        self.locks: dict[Hashable, Transaction] = {}
        self.away_until = 0.0
        self.starts = 0
        self.committed: Callable[[list[tuple[str, Any]]], None] = lambda _: None
        self.due: dict[str, dict[Any, None]] = {}  # ids of documents that have `not_before`
        self._rules: dict[str, Rule] = {}
        self._unique: dict[str, list[Unique]] = {}
        self._unsafe: list[tuple[float, str, Any, Stored | None]] = []

    def shape(self, shapes: Mapping[str, Shape]) -> None:
        """Makes collections as `Store.ensure` would."""
        for name, shape in shapes.items():
            self.docs.setdefault(name, {})
            self.due.setdefault(name, {})
            self._rules[name] = _rule(shape)
            indexes = [index.document for index in shape.indexes]
            self._unique[name] = [Unique(each) for each in indexes if each.get("unique")]

    def crash(self, away_s: float) -> None:
        """Is killed and comes back: open transactions and what no majority has are gone."""
        self.away_until = self.time() + away_s
        self.starts += 1
        for holder in {id(each): each for each in self.locks.values()}.values():
            holder.abort()
        now_s = self.time()
        for until, name, _id, before in reversed(self._unsafe):
            if until > now_s:
                self._set(name, _id, before)
        self._unsafe.clear()

    def free(self, name: str, ids: Iterable[Any]) -> None:
        """Raises Blocked when a transaction holds one of them."""
        if self.locks and any(self.holder((name, _id)) is not None for _id in ids):
            raise Blocked

    def holder(self, key: Hashable) -> Transaction | None:
        found = self.locks.get(key)
        return found if found is not None and found.lives() else None

    def find(
        self, name: str, query: Mapping[str, Any], transaction: Transaction | None
    ) -> Iterable[Stored]:
        """Returns what matches, in the order of insertion."""
        docs = self.docs[name] if transaction is None else transaction.docs[name]
        wanted = query.get("_id")
        if isinstance(wanted, dict) and "$in" in wanted:
            some = [docs[i] for i in dict.fromkeys(wanted["$in"]) if i in docs]
        elif wanted is not None and not isinstance(wanted, dict):
            some = [docs[wanted]] if wanted in docs else []
        elif transaction is None and "not_before" in query:
            some = [docs[i] for i in self.due[name]]
        else:
            some = list(docs.values())
        return [stored for stored in some if matches(stored.data, query)]

    def put(
        self, name: str, _id: Any, document: Document | None,
        transaction: Transaction | None, *, safe: bool = True,
    ) -> None:  # fmt: skip
        """Writes a document (None deletes it); raises Blocked, Duplicate, Invalid, a conflict."""
        stored = None if document is None else Stored(document)
        if stored is not None and not self._rules[name](stored.data):
            raise Invalid(f"a document of {name} fails its validation: {document}")
        if transaction is None:
            if self.holder((name, _id)) is not None:
                raise Blocked
            self._check_unique(name, _id, stored, self.docs[name])
            self._commit({(name, _id): stored}, safe)
            return
        view, own = transaction.docs[name], (name, _id) in transaction.writes
        transaction.lock((name, _id))
        if not own and self.docs[name].get(_id) is not view.get(_id):
            transaction.conflict()
        self._check_unique(name, _id, stored, view, transaction)
        transaction.writes[name, _id] = stored
        if stored is None:
            view.pop(_id, None)
        else:
            view[_id] = stored

    def commit(self, transaction: Transaction) -> None:
        """Lets everybody see its writes; once."""
        if transaction.state == "open":
            transaction.end("committed")
            self._commit(transaction.writes, transaction.safe)

    def _check_unique(
        self, name: str, _id: Any, stored: Stored | None, view: Docs,
        transaction: Transaction | None = None,
    ) -> None:  # fmt: skip
        if stored is None:
            return
        for index in self._unique[name]:
            key = index.key(stored.data)
            if key is None:
                continue
            if transaction is None:
                if self.holder((name, index.name, key)) is not None:
                    raise Blocked
            else:
                transaction.lock((name, index.name, key))
            if _taken(index, key, _id, view):
                values = dict(zip(index.pattern, key, strict=True))
                raise Duplicate(index.name, index.pattern, values)
            if transaction is not None and _taken(index, key, _id, self.docs[name]):
                transaction.conflict()

    def _commit(self, writes: Mapping[tuple[str, Any], Stored | None], safe: bool) -> None:
        if safe:
            self._unsafe.clear()  # a majority that has this has what was before it
        else:
            until = self.time() + REPLICATED_S
            self._unsafe += [(until, n, i, self.docs[n].get(i)) for n, i in writes]
        for (name, _id), stored in writes.items():
            self._set(name, _id, stored)
        self.committed(list(writes))

    def _set(self, name: str, _id: Any, stored: Stored | None) -> None:
        if stored is None:
            self.docs[name].pop(_id, None)
        else:
            self.docs[name][_id] = stored
        if stored is not None and "not_before" in stored.data:
            self.due[name][_id] = None
        else:
            self.due[name].pop(_id, None)


def _taken(index: Unique, key: tuple[Any, ...], _id: Any, docs: Docs) -> bool:
    return any(i != _id and index.key(each.data) == key for i, each in docs.items())
