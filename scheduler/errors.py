"""The scheduler's errors, by the three kinds of `models.errors`.

EnlargerError
├── RequestError
│   ├── AddressInvalid        no address that we read, or one that leaves its folder
│   ├── UrlRefused            a user's URL that may not be fetched, by its spelling or its network
│   ├── ObjectMissing         nothing is stored there
│   ├── ObjectTooLarge        more bytes than the limit
│   ├── ObjectChanged         other bytes than those that were asked for
│   ├── ObjectExists          a write that asked for "only if absent" found something
│   ├── AccessDenied          the credentials may not do this
│   ├── StorageRefused        the store answers, and won't: archived, not implemented, a bad key
│   ├── DestinationUnwritable
│   ├── PlaceForbidden        an address that batches over HTTP may not name
│   ├── SourceUnreadable      a file that is no manifest, a folder without images
│   ├── RowInvalid            one row of a manifest
│   ├── KeyUnknown            no API key has this id
│   ├── EventInvalid          a message that tells of no object in a bucket
│   ├── EventRefused          a sender of events who does not prove to be one
│   ├── TriggerInvalid        a rule that can't be, such as one that would take its own results
│   ├── TriggerUnknown
│   ├── ResultAsSource        a result that came into a bucket which a trigger watches
│   ├── KeyReused             an idempotency key that stands for another submission
│   ├── NobodyReady           workers are there, and none of them can serve the endpoint
│   ├── FileRefused           a file of a request that can't be taken as it was given
│   ├── FileMissing           no such file, not yet uploaded, or its time is over
│   ├── AddressSecretWrong    a public address or a token that is not one of ours, or was altered
│   ├── ResultForgotten       a result that was not to be kept, and is not there any more
│   ├── WeightsRefused        a file of weights that can't be had, or is not what it should be
│   ├── BatchUnknown
│   ├── RevisionUnknown       no migration that the database can go back to
│   ├── ApiRefused            an API that was asked instead of the ledger says no
│   ├── SubscriptionUnknown
│   ├── EventUnknown          no type of events that one can subscribe to
│   ├── SettingsInvalid
│   ├── HomeUnusable          an embedded system can't live in ENLARGER_HOME as it is
│   ├── HomeHeld              another process holds ENLARGER_HOME, and can't be joined
│   ├── AddressInUse          nothing can listen there
│   └── ServerMissing         no Redis (or PostgreSQL) to embed; says what to install
└── WorldError
    ├── StorageUnavailable    the store answers 5xx, hangs, or is not there
    │   └── NameUnresolved    nobody says what address a host has
    ├── HubUnavailable        the site that weights are published on does not answer
    ├── QueueUnavailable      a queue of bucket events is away, forbidden or not there
    ├── LedgerUnavailable
    ├── BrokerUnavailable
    ├── ApiUnavailable        an API that was asked instead of the ledger does not answer
    ├── SystemStopped         whoever ran the embedded system that this process had joined is gone
    └── ChildGaveUp           a child process died too often, or was not ready in time
"""

from pathlib import Path

from models.errors import RequestError, WorldError


class AddressInvalid(RequestError):
    """An address that names no place we read or write."""


class UrlRefused(RequestError):
    """A URL of a user's that is not fetched: oddly spelt, or not of a public network."""


class ObjectMissing(RequestError):
    """Nothing is stored under this address."""


class ObjectTooLarge(RequestError):
    """The object has more bytes than the limit allows."""


class ObjectChanged(RequestError):
    """The object is no longer the one whose ETag or version was asked for."""


class ObjectExists(RequestError):
    """A write that must not replace anything found something there."""


class AccessDenied(RequestError):
    """The credentials may not do this."""


class StorageRefused(RequestError):
    """The store understood the call and will not do it, however often it is asked."""


class DestinationUnwritable(RequestError):
    """Results could not be stored at the destination."""


class PlaceForbidden(RequestError):
    """An order over HTTP names an address that the operator did not allow."""


class SourceUnreadable(RequestError):
    """The source is no folder, image, prefix or manifest that we read."""


class RowInvalid(RequestError):
    """One row of a manifest can't become a job."""


class BatchUnknown(RequestError):
    """No batch has this id."""


class SubscriptionUnknown(RequestError):
    """No subscription has this id."""


class EventUnknown(RequestError):
    """Nothing that one can subscribe to has this name."""


class BatchPruned(RequestError):
    """A batch's rows were dropped for their age; its counters are all that is left."""


class KeyUnknown(RequestError):
    """No API key has this id."""


class EventInvalid(RequestError):
    """A message that tells of no object in a bucket, or in no way that is understood."""


class EventRefused(RequestError):
    """Whoever sends events over HTTP lacks the token, or SNS's signature of an allowed topic."""


class TriggerInvalid(RequestError):
    """A rule that can't work, or would set itself off."""


class TriggerUnknown(RequestError):
    """No rule has this name."""


class ResultAsSource(RequestError):
    """A trigger's job whose source is a result; to enlarge it would be to go in circles."""


class ApiRefused(RequestError):
    """An API says what is wrong with what it was asked."""


class KeyReused(RequestError):
    """An idempotency key was used for something else."""


class NobodyReady(RequestError):
    """Workers are there, and each says why it can't serve the endpoint."""


class RevisionUnknown(RequestError):
    """The database can't go back to a migration of this name."""


class FileRefused(RequestError):
    """A file of a request can't be taken as it was given."""


class FileMissing(RequestError):
    """There is no such file, or not yet, or no longer."""


class AddressSecretWrong(RequestError):
    """A public address or token is not one of ours, was altered, or its time is over."""


class ResultForgotten(RequestError):
    """The request asked not to keep its result; it was delivered, or nobody came for it."""


class WeightsRefused(RequestError):
    """A file of weights that can't be had, or whose bytes are others than those expected."""


class SettingsInvalid(RequestError):
    """A setting is missing or out of its range."""


class HomeUnusable(RequestError):
    """An embedded system can't live in ENLARGER_HOME as it is."""


class HomeHeld(RequestError):
    """Another process holds ENLARGER_HOME, and can't be joined."""


class AddressInUse(RequestError):
    """Nothing can listen at this address: somebody else does, or it is not this host's."""


class ServerMissing(RequestError):
    """A server that an embedded system needs is not installed."""


class StorageUnavailable(WorldError):
    """The object store is unwell: 5xx, a timeout, or nobody answers."""


class NameUnresolved(StorageUnavailable):
    """A host's address is not known, so it can't be checked and nothing is reached."""


class HubUnavailable(WorldError):
    """The site that weights are published on does not answer."""


class QueueUnavailable(WorldError):
    """A queue of bucket events does not answer, or may not be read; both can be put right."""


class LedgerUnavailable(WorldError):
    """PostgreSQL does not answer."""


class ApiUnavailable(WorldError):
    """An API does not answer, or has trouble of its own."""


class BrokerUnavailable(WorldError):
    """Redis does not answer."""


class SystemStopped(WorldError):
    """The process that ran an embedded system, which this one had joined, has ended."""


class ChildGaveUp(WorldError):
    """A child process died too often to be started again, or was not ready in time.

    Attributes:
        hopeless: It said itself that to start it again would be of no use.
    """

    def __init__(
        self, name: str, *, reason: str, log: Path, tail: str, hopeless: bool = False
    ) -> None:
        super().__init__(f"{name}: {reason}; its log {log} ends:\n{tail}")
        self.hopeless = hopeless
