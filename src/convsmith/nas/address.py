"""The address of the storage of a search: a database, or a gRPC proxy of Optuna's."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

# The storage without an address: a file in the folder of the search.
JOURNAL = "journal.log"
# Parameters of drivers that are not shown, as the password in front of the host.
_SECRETS = ("password", "passwd", "sslpassword")
_PORTS = {"postgresql": 5432, "mysql": 3306}
_FORMS = "sqlite:///FILE, postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or grpc://HOST:PORT"


@dataclass(frozen=True, kw_only=True)
class StorageAddress:
    """A storage that is not the journal.

    Attributes:
        url: With the password, if it has one; not shown.
        name: The same without the password.
        kind: "sqlite", "postgresql", "mysql" or "grpc".
        host: Of its server; empty for a file or a local socket.
        port: Of its server.
    """

    url: str = field(repr=False)
    name: str
    kind: str
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "StorageAddress":
        """Return the storage that a URL names. The path of an SQLite file becomes absolute.

        Raises:
            UsageError: It names none that processes can share.

        Example:
            >>> StorageAddress.parse("postgresql://me:secret@db/searches").name
            'postgresql://me:***@db/searches'
        """
        if text.startswith("grpc://"):
            return cls._parse_grpc(text)
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        try:
            url = make_url(text)
        # SQLAlchemy converts the port without a check.
        except (SQLAlchemyError, ValueError):
            raise usage_error(text) from None
        kind = url.get_backend_name()
        if kind == "sqlite":
            if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
                raise usage_error(text)
            url = url.set(database=str(Path(url.database).expanduser().resolve()))
        elif kind not in _PORTS or not url.database:
            raise usage_error(_without_password(url))
        return cls(
            url=url.render_as_string(hide_password=False),
            name=_without_password(url),
            kind=kind,
            host=url.host or "",
            port=url.port or _PORTS.get(kind, 0),
        )

    @classmethod
    def _parse_grpc(cls, text: str) -> "StorageAddress":
        match = re.fullmatch(r"grpc://([\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})/?", text)
        if match is None or not 0 < int(match[2]) < 2**16:
            raise usage_error(text)
        return cls(url=text, name=text, kind="grpc", host=match[1], port=int(match[2]))

    def __str__(self) -> str:
        return self.name


def _without_password(url: "URL") -> str:
    hidden = {key: "hidden" for key in url.query if key.lower() in _SECRETS}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def usage_error(text: str) -> UsageError:
    """Return the error for a URL that is no storage; a password in it is not shown."""
    shown = re.sub(r"(://[^/@]*?:)[^/]*@", r"\1***@", text)
    return UsageError(
        f"found {shown!r}, expected {_FORMS}",
        where="--storage",
        fix="leave it out to keep the trials in the folder of the search",
    )
