"""Errors: what the report of one becomes here, and what is sent of that in turn."""

import copy
import pickle
from collections.abc import Iterable
from typing import Final

from fuzzing._harness import Target
from fuzzing._vectors import messages_of
from refusion.rpc import RpcError, RpcLimitExceeded, RpcProtocolError
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import ExceptionInfo, error_from_info, info_from_error
from refusion.rpc.protocol._exception_info import _BY_NAME
from refusion.rpc.protocol._system_calls import ERROR

__all__ = ["TARGETS"]

_FORMATS: Final = tuple(get_format(key) for key in ("json5np", "msgpack6"))


def _check(data: bytes) -> None:
    for format_ in _FORMATS:
        try:
            info = format_.decode_error(data)
        except RpcProtocolError as error:
            assert str(error)
            continue
        assert format_.decode_error(format_.encode_error(info)) == info
        _check_error(error_from_info(info))


def _check_error(error: Exception) -> None:
    assert isinstance(error, RpcError)
    str(error)
    repr(error)
    again = info_from_error(error)
    assert isinstance(error_from_info(again), RpcError)
    if not isinstance(error, RpcLimitExceeded):
        for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert type(same) is type(error)
            assert str(same) == str(error)


def _seeds() -> Iterable[bytes]:
    for format_ in _FORMATS:
        for message in messages_of(format_, ERROR):
            yield message.args
        for name in (*_BY_NAME, "ActualLab.Rpc.RpcRerouteException", "ActualLab.Rpc.RpcResourceLimitExceededException"):
            yield format_.encode_error(ExceptionInfo(f"{name}, System.Private.CoreLib", "text"))
        yield format_.encode_error(ExceptionInfo("", ""))


TARGETS: Final = (
    Target(
        name="errors",
        check=_check,
        seeds=_seeds,
        tokens=(
            b'"TypeRef":',
            b'"Message":',
            b"\xa7TypeRef",
            b"\xa7Message",
            b", ",
            b"null",
            *map(str.encode, _BY_NAME),
        ),
    ),
)
