"""Who asks, and who may: tokens that end, and rules that refuse as RBAC and admission webhooks do."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from .kinds import Kind
from .statuses import Object, Refused, about, qualified

#: Who asks without a token.
ANONYMOUS = "system:anonymous"
#: What anybody may read.
PUBLIC = ("/healthz", "/livez", "/readyz", "/version")


class Request(NamedTuple):
    """What somebody wants to do, as rules see it."""

    user: str
    verb: str
    kind: Kind | None
    namespace: str = ""
    name: str = ""
    part: str = ""
    path: str = ""


@dataclass
class Rule:
    """A rule that refuses what it matches; `*` stands for anything in any of the texts.

    Args:
        verb, plural, namespace, name, user: what it matches; the plural may name a part, such as pods/log.
        why: for people.
        code: the HTTP status; for an admission webhook.
        reason: one word for programs; for an admission webhook.
        webhook: which webhook refuses; empty where RBAC does.
        times: how often it refuses; None for ever.
    """

    verb: str = "*"
    plural: str = "*"
    namespace: str = "*"
    name: str = "*"
    user: str = "*"
    why: str = ""
    code: int = 403
    reason: str | None = None
    webhook: str = ""
    times: int | None = None
    details: Object | None = None
    refused: int = field(default=0, init=False)

    def takes(self, request: Request) -> bool:
        """Return whether a request is refused, and count that."""
        if request.kind is None or (self.times is not None and self.refused >= self.times):
            return False
        plural = request.kind.plural + (f"/{request.part}" if request.part else "")
        asked = request.verb, plural, request.namespace, request.name, request.user
        wanted = self.verb, self.plural, self.namespace, self.name, self.user
        if not all(map(fnmatchcase, asked, wanted)):
            return False
        self.refused += 1
        return True


@dataclass
class Token:
    """Whose token it is, and until when, by time.monotonic(); None for ever."""

    user: str
    groups: tuple[str, ...] = ("system:authenticated",)
    ends: float | None = None


class Access:
    """Tokens and rules. Whoever has a token may do everything that no rule refuses."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.rules: list[Rule] = []

    def add_token(self, token: str = "", *, user: str = "admin", seconds: float | None = None) -> str:
        """Take a token from now on, for some seconds or for ever; return it."""
        token = token or secrets.token_hex(16)
        groups = ("system:masters", "system:authenticated") if user == "admin" else ("system:authenticated",)
        self.tokens[token] = Token(user, groups, None if seconds is None else time.monotonic() + seconds)
        return token

    def revoke(self, token: str) -> None:
        """Take it no more."""
        del self.tokens[token]

    def refuse(self, **rule: object) -> Rule:
        """Refuse what a rule matches from now on; see Rule."""
        self.rules.append(Rule(**rule))  # type: ignore[arg-type]
        return self.rules[-1]

    def allow(self, rule: Rule) -> None:
        """Take a rule back."""
        self.rules.remove(rule)

    def identify(self, authorization: str) -> Token:
        """Return who asks; a header that names no living token is refused."""
        word, _, value = authorization.partition(" ")
        if not authorization:
            return Token(ANONYMOUS, ("system:unauthenticated",))
        token = self.tokens.get(value.strip()) if word.lower() == "bearer" else None
        if token is None or (token.ends is not None and time.monotonic() >= token.ends):
            raise Refused(401, "Unauthorized")
        return token

    def authorize(self, request: Request) -> None:
        """Refuse as RBAC does."""
        if request.user == ANONYMOUS and request.path.startswith(PUBLIC):
            return
        if request.user == ANONYMOUS or any(not rule.webhook and rule.takes(request) for rule in self.rules):
            raise refusal(request)

    def may(self, request: Request) -> bool:
        """Return whether somebody may do that; nothing is counted."""
        counts = [rule.refused for rule in self.rules]
        try:
            self.authorize(request)
        except Refused:
            return False
        finally:
            for rule, count in zip(self.rules, counts, strict=True):
                rule.refused = count
        return True

    def admit(self, request: Request) -> None:
        """Refuse as an admission webhook does."""
        for rule in self.rules:
            if rule.webhook and rule.takes(request):
                why = f": {rule.why}" if rule.why else " without explanation"
                message = f'admission webhook "{rule.webhook}" denied the request{why}'
                raise Refused(rule.code, message, rule.reason, rule.details)


def refusal(request: Request) -> Refused:
    """Return what RBAC says to a request."""
    kind = request.kind
    if kind is None:
        message = f'forbidden: User "{request.user}" cannot {request.verb} path "{request.path}"'
        return Refused(403, message, None, {})
    where = f' in the namespace "{request.namespace}"' if request.namespace else " at the cluster scope"
    plural = kind.plural + (f"/{request.part}" if request.part else "")
    named = f' "{request.name}"' if request.name else ""
    return Refused(
        403,
        f'{qualified(kind.plural, kind.group)}{named} is forbidden: User "{request.user}" cannot {request.verb}'
        f' resource "{plural}" in API group "{kind.group}"{where}',
        None,
        about(request.name, kind.group, kind.plural),
    )
