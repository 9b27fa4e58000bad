"""Lists: as of now or of a version, in pieces that go on from where the last one ended."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from .kinds import Kind
from .manners import Manner
from .selectors import Selector
from .statuses import Object, Refused, bad_request, cause, gone, invalid, unsupported
from .storage import Key, Record, Storage

CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without"
    " the continue parameter, or use the continue token in this response to retrieve the remainder of the results."
    " Continuing with the provided token results in an inconsistent list - objects that were created, modified, or"
    " deleted between the time the first chunk was returned and now may show up in the list."
)


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return a number that a query says, or None."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        if name == "resourceVersion":  # which is read only where it is used
            message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            raise Refused(500, message, "") from None
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if value < 0:
        raise bad_request(f'{name}: Invalid value: "{text}": must not be negative')
    return value


def true(query: Mapping[str, str], name: str) -> bool:
    """Return whether a query says yes, in one of the ways in which that can be said."""
    return query.get(name, "") in ("1", "t", "T", "true", "True", "TRUE")


def options_problem(field: str, message: str) -> Refused:
    """Return how options that do not go together are refused."""
    return invalid("ListOptions", "meta.k8s.io", "", [cause(field, "FieldValueForbidden", f"Forbidden: {message}")])


def listed(
    storage: Storage, kind: Kind, namespace: str, selector: Selector, query: Mapping[str, str]
) -> tuple[list[Record], Object]:
    """Return the objects that a query asks for, and the metadata of the list."""
    limit, token = number(query, "limit") or 0, query.get("continue", "")
    version, match = number(query, "resourceVersion"), query.get("resourceVersionMatch", "")
    if match and version is None:
        raise options_problem(
            "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match and match not in ("Exact", "NotOlderThan"):
        found = unsupported("resourceVersionMatch", match, ("Exact", "NotOlderThan", ""))
        raise invalid("ListOptions", "meta.k8s.io", "", [found])
    if match == "Exact" and version == 0:
        raise options_problem(
            "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )
    if token and version:
        raise bad_request("specifying resource version is not allowed when using continue")
    table = storage.tables[kind]
    start: Key | None = None
    at = storage.version
    if token:
        at, start = read_token(token)
        if at < 0:
            at = storage.version
        elif at < storage.compacted:
            fresh = make_token(-1, start)
            raise gone(CONTINUE_TOO_OLD, {"continue": fresh})
    elif version is not None and version > storage.version:
        message = f"Too large resource version: {version}, current: {storage.version}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise Refused(504, message, "Timeout", {"causes": causes, "retryAfterSeconds": 1})
    elif version and (match == "Exact" or (limit and not match)):
        if version < storage.compacted:
            raise gone("The resourceVersion for the provided list is too old.")
        at = version
    records = table.now(namespace) if at == storage.version else table.at(at, namespace)
    records = [each for each in records if (start is None or each.key > start) and selector.takes(each)]
    meta: Object = {"resourceVersion": str(at)}
    if limit and len(records) > limit:
        meta["continue"] = make_token(at, records[limit - 1].key)
        if selector.empty:
            meta["remainingItemCount"] = len(records) - limit
        records = records[:limit]
    return records, meta


def make_token(version: int, key: Key) -> str:
    """Return where a list goes on."""
    return base64.urlsafe_b64encode(json.dumps([version, *key]).encode()).decode()


def read_token(token: str) -> tuple[int, Key]:
    """Return what such a token means."""
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except ValueError:
        raise bad_request("continue key is not valid: it cannot be read") from None


def bare(record: Record) -> bytes:
    """Return an object as it stands in a list: what it is, the list says."""
    both = b'{"kind":"%s","apiVersion":"%s",' % (record.kind.name.encode(), record.kind.api_version.encode())
    text = record.encoded()
    if text.startswith(both):
        return b"{" + text[len(both) :]
    value = {key: inner for key, inner in record.object.items() if key not in ("kind", "apiVersion")}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def refuse_initial_events(query: Mapping[str, str], manner: Manner) -> None:
    """Refuse what only servers with a certain feature do; the ones before did not know the word, and passed over it."""
    if "sendInitialEvents" in query and manner.strict_fields:
        message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        raise options_problem("sendInitialEvents", message)
