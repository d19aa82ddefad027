"""Open the storage of a search: a journal in its folder, a database, or a gRPC proxy of Optuna's."""

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from optuna.storages.journal import JournalStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from convsmith.errors import ConvsmithError, FileError, MissingExtraError, ProcessError, RunError
from convsmith.nas.address import JOURNAL, StorageAddress, usage_error
from convsmith.nas.journal import Journal
from convsmith.system import paths

# Seconds to wait for a server to answer, and for another process that writes to an SQLite file.
_TIMEOUT, _SQLITE_TIMEOUT = 10, 60
# Drivers that take `connect_timeout`, and what to install for the module of a driver.
_TIMED_DRIVERS = ("psycopg", "psycopg2", "mysqldb", "pymysql")
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def open_storage(folder: Path, address: StorageAddress | None) -> BaseStorage:
    """Open the journal of a folder, or another storage.

    Raises:
        MissingExtraError: Its driver is not installed.
        ProcessError: Its server does not answer within seconds.
        RunError: It is damaged, or no database of Optuna's.
        FileError: The file cannot be read or written.
    """
    with storage_errors(folder, address):
        if address is None:
            return JournalStorage(Journal(folder / JOURNAL))
        if address.host:
            _check_answers(address)
        return _open_grpc(address) if address.kind == "grpc" else _open_database(address)


def _open_grpc(address: StorageAddress) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            storage = GrpcStorageProxy(host=address.host, port=address.port)
        except ImportError as error:
            raise MissingExtraError(
                "this storage needs grpcio and protobuf, which are not installed",
                where=str(address),
                fix="pip install grpcio protobuf",
            ) from error
    try:
        storage.wait_server_ready(timeout=_TIMEOUT)
    except ConnectionError:
        raise _no_answer(address, f"not within {_TIMEOUT} seconds") from None
    return storage


def _open_database(address: StorageAddress) -> BaseStorage:
    if address.kind == "sqlite":
        _check_folder(address)
    try:
        return RDBStorage(address.url, engine_kwargs=_engine_options(address))
    except ImportError as error:
        module = getattr(error.__cause__, "name", None) or "its driver"
        raise MissingExtraError(
            f"this storage needs {module}, which is not installed",
            where=str(address),
            fix=f"pip install '{_PACKAGES.get(module, module)}'",
        ) from error
    except NoSuchModuleError:
        raise usage_error(str(address)) from None


def _engine_options(address: StorageAddress) -> dict[str, Any]:
    if address.kind == "sqlite":
        return {"connect_args": {"timeout": _SQLITE_TIMEOUT}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if make_url(address.url).get_driver_name() in _TIMED_DRIVERS:
        options["connect_args"] = {"connect_timeout": _TIMEOUT}
    return options


def _check_folder(address: StorageAddress) -> None:
    path = Path(make_url(address.url).database or "")
    if not paths.is_folder(path.parent):
        raise FileError("the folder of the storage does not exist", where=str(path), fix="create it")


def _check_answers(address: StorageAddress) -> None:
    """Raise ProcessError if nobody listens; a driver may wait for minutes."""
    try:
        socket.create_connection((address.host.strip("[]"), address.port), timeout=_TIMEOUT).close()
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from error


def _no_answer(address: StorageAddress, reason: str) -> ProcessError:
    start = "optuna.storages.run_grpc_proxy_server" if address.kind == "grpc" else "the database server"
    return ProcessError(
        f"the storage does not answer: {reason}",
        where=str(address),
        fix=f"start {start}, and check host, port and firewall",
    )


@contextmanager
def storage_errors(folder: Path, address: StorageAddress | None) -> Iterator[None]:
    """Raise an error of convsmith's for whatever Optuna raises over a storage.

    Raises:
        RunError: An entry is incomplete, unknown, or contradicts the others.
        ProcessError: A server does not answer any more.
    """
    try:
        yield
    except ConvsmithError:
        raise
    except OSError as error:
        if address is not None:
            raise _no_answer(address, str(error)) from error
        raise paths.read_error(folder / JOURNAL, error) from error
    # Optuna checks nothing, so that damage can raise nearly any exception.
    except Exception as error:
        reason = f"{type(error).__name__}: {_reason(error)[:400]}"
        if address is not None and _is_failure(error):
            raise ProcessError(
                f"the storage failed: {reason}",
                where=str(address),
                fix="the same command resumes the search when the storage answers again",
            ) from error
        raise RunError(
            f"damaged: {reason}" if address is None else f"cannot be read: {reason}",
            where=str(address or folder / JOURNAL),
            fix="restore it from a copy, or start another study with --study",
        ) from error


def _cause(error: BaseException) -> BaseException:
    """Return what a driver raised: the first error of the chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _reason(error: Exception) -> str:
    cause = _cause(error)
    # An error of gRPC is an object with methods, whose text has ten lines.
    details = getattr(cause, "details", None)
    text = str(details() if callable(details) else cause).strip()
    return next(iter(text.splitlines()), "")


def _is_failure(error: BaseException) -> bool:
    """Return whether an error is one of connection, lock or disk, not of what a storage holds."""
    names = {each.__name__ for each in type(_cause(error)).__mro__}
    if isinstance(error.__cause__, SQLAlchemyError):
        names |= {type(error.__cause__).__name__}
    return bool(names & {"OperationalError", "InterfaceError", "RpcError"})
