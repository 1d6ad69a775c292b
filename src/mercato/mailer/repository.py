"""The queue in MongoDB: `mails`, one document a mail, kept for ever so that each id is sent once.

Whoever works on a mail holds it by a lease: a token of their own, until `not_before`. A mail
whose lease has run out is anybody's: NEW is sent by another copy, DOT is parked. The copies'
clocks must agree to within a lease. A person takes the lease of what is stuck, whoever has it.

What is new may be leased as it is stored: then it is sent from memory, and nobody looks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import msgspec
from pymongo import IndexModel, ReturnDocument, UpdateMany
from pymongo.errors import BulkWriteError

from mercato.kernel.clock import now
from mercato.kernel.identity import new_id
from mercato.mailer.model import Mail, Outcome, State, Stuck, Templated, Written, message_id
from mercato.platform.fold import Fold
from mercato.platform.mongo import Collection, Document, Shape, Store

LEASE_S: Final = 5.0
# A dot that was on its way when its sender was lost may take this long to be seen in the mailbox.
PARKED_GRACE_S: Final = 2.0

_DUPLICATE_KEY: Final = 11000
_AT_WORK: Final = (State.NEW, State.DOT)
_STUCK: Final = (State.PARKED, State.FAILED)
_TEXT: Final = {"bsonType": "string"}
_DATE: Final = {"bsonType": "date"}
SHAPES: Final[Mapping[str, Shape]] = {
    "mails": Shape(
        schema={
            "bsonType": "object",
            "required": [
                *("_id", "state", "to_email", "data", "message_id", "attempts", "created_at"),
            ],
            "additionalProperties": False,
            "properties": {
                "_id": _TEXT,
                "state": {"enum": list(State)},
                "to_email": _TEXT,
                "data": {"bsonType": "object"},
                "message_id": _TEXT,
                "attempts": {"bsonType": "int", "minimum": 0},
                "not_before": _DATE,
                "lease": _TEXT,
                "reason": _TEXT,
                "created_at": _DATE,
                "sent_at": _DATE,
            },
        },
        indexes=(
            # a mail has `not_before` until its end
            IndexModel(
                [("state", 1), ("not_before", 1)],
                name="due",
                partialFilterExpression={"not_before": {"$exists": True}},
            ),
            IndexModel(
                [("created_at", -1)],
                name="failed",
                partialFilterExpression={"state": State.FAILED},
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Step:
    """What a connection writes down at once: what it has sent, and what goes out next."""

    sent: Sequence[Mail] = ()
    dot: Mail | None = None


class MongoMails:
    """The collection `mails`; `domain` is that of the Message-IDs."""

    def __init__(self, store: Store, domain: str) -> None:
        self._mails: Collection = store["mails"]
        self._domain = domain
        # what every mail costs: the steps of all connections are written together
        self.step = Fold(self._step)

    async def add(self, mails: Sequence[Mail]) -> int:
        """Stores the mails whose ids are new, durably; returns how many those were."""
        return len(await self._add([self._document(mail) for mail in mails]))

    async def add_taken(self, mails: Sequence[Mail]) -> list[Mail]:
        """Does the same, and takes the leases of these mails; returns them as `claim` would."""
        taken = {"lease": new_id(), "not_before": now() + timedelta(seconds=LEASE_S)}
        documents = [self._document(mail) | taken for mail in mails]
        added = await self._add(documents)
        return [
            replace(mail, message_id=document["message_id"], lease=document["lease"])
            for number, (mail, document) in enumerate(zip(mails, documents, strict=True))
            if number in added
        ]

    async def _add(self, documents: Sequence[Document]) -> set[int]:
        """Returns which of them were new, by their numbers."""
        new = set(range(len(documents)))
        try:
            await self._mails.insert_many(documents, ordered=False)
        except BulkWriteError as failure:
            told = failure.details
            known = all(error["code"] == _DUPLICATE_KEY for error in told["writeErrors"])
            if not known or told["writeConcernErrors"]:
                raise
            new -= {error["index"] for error in told["writeErrors"]}
        return new

    async def outcome(self, mail_id: str) -> Outcome:
        found = await self._mails.find_one({"_id": mail_id}, {"state": 1, "reason": 1})
        if found is None:
            return Outcome(State.NEW)
        return Outcome(State(found["state"]), found.get("reason", ""))

    async def claim(self, state: State, count_max: int) -> list[Mail]:
        """Takes the lease of due mails in `state`, the longest due first."""
        at, token = now(), new_id()
        due = {"state": state, "not_before": {"$lte": at}}
        found = await self._mails.find(due).sort("not_before", 1).limit(count_max).to_list()
        if not found:
            return []
        wanted = {"_id": {"$in": [document["_id"] for document in found]}}
        lease = {"lease": token, "not_before": at + timedelta(seconds=LEASE_S)}
        taken = await self._mails.update_many(wanted | due, {"$set": lease})
        if taken.modified_count == len(found):  # and so as they were found
            return [_mail(document | lease) for document in found]
        mine = self._mails.find(wanted | {"lease": token})
        return [_mail(document) async for document in mine]

    async def sent(self, mail: Mail) -> None:
        """The server has it: the truth, whoever holds the lease by now."""
        await self.step(Step(sent=(mail,)))

    async def dot(self, mail: Mail) -> bool:
        """Says that the final dot goes out next; False: the lease is lost, and it must not."""
        return await self.step(Step(dot=mail))

    async def renew(self, mails: Sequence[Mail]) -> bool:
        """Keeps the leases of mails that are being sent, or wait for it."""
        due = now() + timedelta(seconds=LEASE_S)
        if mails:
            await self._mails.update_many(_held(mails, _AT_WORK), {"$set": {"not_before": due}})
        return True

    async def release(self, mails: Sequence[Mail]) -> None:
        """Gives back mails that were not begun."""
        change = {"$set": {"not_before": now()}, "$unset": {"lease": ""}}
        if mails:
            await self._mails.update_many(_held(mails, (State.NEW,)), change)

    async def failed(self, mail: Mail, reason: str) -> bool:
        """No attempt will ever succeed."""
        return await self._move(mail, _AT_WORK, _ending(State.FAILED, reason))

    async def later(self, mail: Mail, reason: str) -> bool:
        """It was certainly not sent: tried again after its back-off."""
        due = now() + timedelta(seconds=mail.back_off_s)
        change: Document = {"$set": {"state": State.NEW, "not_before": due, "reason": reason}}
        change |= {"$unset": {"lease": ""}, "$inc": {"attempts": 1}}
        return await self._move(mail, _AT_WORK, change)

    async def park(self, mail: Mail, reason: str) -> bool:
        """Nobody knows whether it was sent."""
        return await self._move(mail, (State.DOT,), {"$set": _parking(reason)})

    async def park_abandoned(self) -> int:
        """Parks every DOT whose lease has run out: its sender is dead; returns how many."""
        abandoned = {"state": State.DOT, "not_before": {"$lte": now()}}
        result = await self._mails.update_many(
            abandoned, {"$set": _parking("its sender was lost while the mail went out")}
        )
        return result.modified_count

    async def not_sent(self, mail: Mail) -> bool:
        """It was looked for and is not there, or a person wants it so: it goes out again."""
        change = {"$set": {"state": State.NEW, "not_before": now()}, "$unset": {"lease": ""}}
        return await self._move(mail, _STUCK, change)

    async def stuck(self, count_max: int) -> list[Stuck]:
        """Returns the mails that wait for a person, the newest first."""
        parked = {"state": State.PARKED, "not_before": {"$exists": True}}
        query = {"$or": [parked, {"state": State.FAILED}]}
        found = self._mails.find(query).sort("created_at", -1).limit(count_max)
        return [_stuck(document) async for document in found]

    async def take(self, mail_id: str, states: Sequence[State]) -> Mail | None:
        """Takes the lease of a mail for a person, whoever holds it; None: it is in no such state.

        Until `sent` or `not_sent` it is as it was, and no process may move it.
        """
        lease = {"lease": new_id(), "not_before": now() + timedelta(seconds=LEASE_S)}
        wanted = {"_id": mail_id, "state": {"$in": states}}
        found = await self._mails.find_one_and_update(
            wanted, {"$set": lease}, return_document=ReturnDocument.AFTER
        )
        return _mail(found) if found else None

    async def count(self, *states: State) -> int:
        waiting = {"state": {"$in": states}, "not_before": {"$exists": True}}
        return await self._mails.count_documents(waiting)

    async def _step(self, steps: list[Step]) -> list[bool]:
        """Writes SENT, then DOT; returns for each whether its dot may go out.

        Each claimed mail is asked for once: the same holder would be told True again.
        """
        sent = [mail.id for step in steps for mail in step.sent]
        dots = [step.dot for step in steps if step.dot is not None]
        writes = [UpdateMany({"_id": {"$in": sent}, "state": {"$ne": State.SENT}}, _sending())]
        due = now() + timedelta(seconds=LEASE_S)
        change: Document = {"$set": {"state": State.DOT, "not_before": due}}
        for lease in {mail.lease for mail in dots}:  # each by its own lease, and by no other
            mails = [mail for mail in dots if mail.lease == lease]
            writes.append(UpdateMany(_held(mails, (State.NEW,)), change))
        result = await self._mails.bulk_write(writes if sent else writes[1:])
        if result.modified_count == len(sent) + len(dots):
            return [True] * len(steps)
        dotted = self._mails.find(_held(dots, (State.DOT,)), {"lease": 1})
        leases = {document["_id"]: document["lease"] async for document in dotted}
        return [step.dot is None or leases.get(step.dot.id) == step.dot.lease for step in steps]

    async def _move(self, mail: Mail, states: Sequence[State], change: Document) -> bool:
        """Changes a mail that we still hold; returns whether we did."""
        result = await self._mails.update_one(_held([mail], states), change)
        return result.modified_count == 1

    def _document(self, mail: Mail) -> Document:
        return {
            "_id": mail.id,
            "state": State.NEW,
            "to_email": mail.to_email,
            "data": msgspec.to_builtins(mail.content),
            "message_id": message_id(mail.id, self._domain),
            "attempts": 0,
            "created_at": mail.created_at,
            "not_before": mail.created_at,
        }


def _held(mails: Sequence[Mail], states: Sequence[State]) -> Document:
    return {
        "_id": {"$in": [mail.id for mail in mails]},
        "lease": {"$in": list({mail.lease for mail in mails})},
        "state": {"$in": states},
    }


def _ending(state: State, reason: str = "") -> Document:
    change: Document = {"$set": {"state": state}, "$unset": {"not_before": "", "lease": ""}}
    change["$set" if reason else "$unset"]["reason"] = reason
    return change


def _sending() -> Document:
    """The end of a mail, and of what it said that nobody else should read."""
    change = _ending(State.SENT)
    change["$unset"] |= {"data.link": ""}
    return change | {"$currentDate": {"sent_at": True}}


def _parking(reason: str) -> Document:
    due = now() + timedelta(seconds=PARKED_GRACE_S)
    return {"state": State.PARKED, "not_before": due, "reason": reason}


def _mail(document: Document) -> Mail:
    shape: type[Written | Templated] = Templated if "template" in document["data"] else Written
    return Mail(
        id=document["_id"],
        to_email=document["to_email"],
        content=msgspec.convert(document["data"], shape),
        created_at=document["created_at"],
        attempts=document["attempts"],
        message_id=document["message_id"],
        lease=document["lease"],
    )


def _stuck(document: Document) -> Stuck:
    return Stuck(
        id=document["_id"],
        message_id=document["message_id"],
        to=document["to_email"],
        state=State(document["state"]),
        reason=document.get("reason", ""),
        attempts=document["attempts"],
        since=document["created_at"],
    )
