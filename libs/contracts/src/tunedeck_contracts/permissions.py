"""What each user of NATS may say and hear, derived from the tables of requests, events and streams.

NATS holds it, so that a service that was broken into can neither ask nor tell what is not its own.
"""

from dataclasses import dataclass

from tunedeck_contracts import subjects
from tunedeck_contracts.channels import EVENT_CHANNELS, SERVICES
from tunedeck_contracts.rpc import REQUESTS, health_check
from tunedeck_contracts.streams import CONSUMERS, DLQ, JOBS, STREAMS, Consumer, Stream
from tunedeck_contracts.subjects import inbox

PROVISION = "provision"
OPERATOR = "operator"
OBSERVER = "observer"
SUBSCRIBER = "subscriber"
USERS = (*SERVICES, PROVISION, OPERATOR, OBSERVER, SUBSCRIBER)

ASKED = tuple(service for service in SERVICES if service != "gateway")
"""Services that answer requests; the gateway answers HTTP."""

_API = "$JS.API"


@dataclass(frozen=True)
class Permissions:
    """Subjects that a user may publish on and subscribe to, and no other.

    A subscription of two words is allowed in that queue group only. `denied` is taken out of `publish`.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    denied: tuple[str, ...] = ()


def of_user(user: str) -> Permissions:
    """The permissions of one of `USERS`."""
    if user in SERVICES:
        return _of_service(user)
    own_inbox = f"{inbox(user)}.>"
    publish, heard = {
        PROVISION: (_making(), ()),
        OPERATOR: (_replaying(), ()),
        OBSERVER: ((), (subjects.JOB_EVENTS, subjects.TRAINING_EVENTS)),
        SUBSCRIBER: (_following("*", subjects.JOB_EVENTS), ()),
    }[user]
    own = [one.name for one in CONSUMERS if one.stream == JOBS.name] if user == SUBSCRIBER else []
    denied = tuple(subject for name in own for subject in _following(name, ">"))
    return Permissions(publish=tuple(publish), subscribe=(own_inbox, *heard), denied=denied)


def _of_service(service: str) -> Permissions:
    requests = [*REQUESTS.values(), *map(health_check, ASKED)]
    # Named, and not NATS's `allow_responses`: that is forgotten when the server restarts, and an answer
    # that was on its way would be refused after.
    asking = {caller for one in requests if one.service == service for caller in one.callers}
    publish = [
        *(one.subject for one in requests if service in one.callers),
        *(f"{inbox(caller)}.>" for caller in SERVICES if caller in asking),
        *(_address(one.address, service) for one in EVENT_CHANNELS if service in one.senders),
        *_inspecting(),
        *(f"{_API}.STREAM.MSG.GET.{stream.name}" for stream in STREAMS if stream in _heard(service)),
        *(subject for one in CONSUMERS if one.service == service for subject in _consuming(one)),
    ]
    heard = [
        subject
        for stream in STREAMS
        for subject in stream.subjects
        if any(_matches(subject, one.address) for one in EVENT_CHANNELS if service in one.receivers)
    ]
    live = [
        _address(one.address, service)
        for one in EVENT_CHANNELS
        if one.stream is None and service in one.receivers
    ]
    # The queue group is part of it: nobody listens beside those who answer.
    answered = [f"{subjects.requests_of(service)} {service}"] if service in ASKED else []
    return Permissions(
        publish=tuple(publish),
        subscribe=(f"{inbox(service)}.>", *answered, *heard, *live),
    )


def _heard(service: str) -> list[Stream]:
    return [one.stream for one in EVENT_CHANNELS if one.stream is not None and service in one.receivers]


def _inspecting() -> list[str]:
    """Asserting that everything is there as it should be."""
    return [
        *(f"{_API}.STREAM.INFO.{stream.name}" for stream in STREAMS),
        *(f"{_API}.CONSUMER.INFO.{one.stream}.{one.name}" for one in CONSUMERS),
    ]


def _consuming(consumer: Consumer) -> list[str]:
    return [
        f"{_API}.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}",
        f"$JS.ACK.{consumer.stream}.{consumer.name}.>",
    ]


def _making() -> list[str]:
    """Streams and consumers made and changed, but never removed: that takes what they keep along."""
    return [
        *_inspecting(),
        *(f"{_API}.STREAM.{change}.{stream.name}" for stream in STREAMS for change in ("CREATE", "UPDATE")),
        *(f"{_API}.CONSUMER.CREATE.{one.stream}.{one.name}.>" for one in CONSUMERS),
    ]


def _replaying() -> list[str]:
    """Dead letters read, removed, and their messages sent again to who has consumers for them."""
    return [
        *_inspecting(),
        f"{_API}.STREAM.MSG.GET.{DLQ.name}",
        f"{_API}.STREAM.MSG.DELETE.{DLQ.name}",
        *dict.fromkeys(one.filter_subject for one in CONSUMERS),
    ]


def _following(name: str, filter_: str) -> list[str]:
    """Durables on the job events made, asked about and read."""
    return [
        f"{_API}.CONSUMER.CREATE.{JOBS.name}.{name}.{filter_}",
        f"{_API}.CONSUMER.INFO.{JOBS.name}.{name}",
        f"{_API}.CONSUMER.MSG.NEXT.{JOBS.name}.{name}",
        f"$JS.ACK.{JOBS.name}.{name}.>",
    ]


def _address(address: str, service: str) -> str:
    """Every subject of a channel; of the channel of dead letters, the service's own."""
    head, brace, _ = address.replace("{service}", service).partition("{")
    return f"{head}*" if brace else head


def _matches(pattern: str, address: str) -> bool:
    wanted, tokens = pattern.split("."), address.split(".")
    pairs = zip(wanted, tokens, strict=False)
    return len(wanted) == len(tokens) and all(one in ("*", token) for one, token in pairs)


def configuration() -> str:
    """The users as a part of nats-server's configuration.

    Their public keys are variables (`$NATS_KEY_GATEWAY`), which `nats_keys.conf` in the same folder sets.
    """
    users = "".join(_user(user, of_user(user)) for user in USERS)
    return (
        "# Who may say and hear what: written from tunedeck_contracts/permissions.py by `make schemas`.\n"
        f"include 'nats_keys.conf'\n\nauthorization {{\n  users = [\n{users}  ]\n}}\n"
    )


def key_variable(user: str) -> str:
    """The name of the variable that has a user's public key."""
    return f"NATS_KEY_{user.upper()}"


def _user(user: str, allowed: Permissions) -> str:
    # An empty list of what is allowed would allow everything.
    publish = _list("allow", allowed.publish) if allowed.publish else "deny: '>'\n"
    publish += f"          {_list('deny', allowed.denied)}" if allowed.denied else ""
    return (
        f"    {{\n      # {user}\n      nkey: ${key_variable(user)}\n      permissions {{\n"
        f"        publish {{ {publish}        }}\n"
        f"        subscribe {{ {_list('allow', allowed.subscribe)}        }}\n"
        "      }\n    }\n"
    )


def _list(name: str, subjects_: tuple[str, ...]) -> str:
    return f"{name}: [\n" + "".join(f"          '{one}'\n" for one in subjects_) + "        ]\n"
