"""Transports, one module each. The one to use is loaded by name, when it is first needed."""

from importlib import import_module
from importlib.util import find_spec
from typing import Final

from ._origins import OriginValidator as OriginValidator
from ._origins import allow_all as allow_all
from ._origins import allow_origins as allow_origins
from ._origins import same_origin as same_origin
from ._origins import same_origin_with_cookies as same_origin_with_cookies
from ._queued import QueuedTransport as QueuedTransport
from ._serving import connection_request as connection_request
from ._transport import CLOSE_ABNORMAL as CLOSE_ABNORMAL
from ._transport import CLOSE_GOING_AWAY as CLOSE_GOING_AWAY
from ._transport import CLOSE_INTERNAL_ERROR as CLOSE_INTERNAL_ERROR
from ._transport import CLOSE_NORMAL as CLOSE_NORMAL
from ._transport import CLOSE_PROTOCOL_ERROR as CLOSE_PROTOCOL_ERROR
from ._transport import CLOSE_TOO_LARGE as CLOSE_TOO_LARGE
from ._transport import CLOSE_UNSUPPORTED_FORMAT as CLOSE_UNSUPPORTED_FORMAT
from ._transport import Accept as Accept
from ._transport import ConnectionRequest as ConnectionRequest
from ._transport import Network as Network
from ._transport import Receiver as Receiver
from ._transport import Rejection as Rejection
from ._transport import Server as Server
from ._transport import Transport as Transport
from ._transport import TransportLimits as TransportLimits
from ._transport import close_reason as close_reason

_NETWORKS: Final = {"picows": "PicowsNetwork", "websockets": "WebSocketsNetwork"}


def get_network(name: str | None = None) -> Network:
    """Return a kind of transport by name.

    Args:
        name: `picows` or `websockets`; by default picows where it is installed.

    Raises:
        LookupError: If there is no such transport.
        ImportError: If its library isn't installed.
    """
    if name is None:
        name = "picows" if find_spec("picows") is not None else "websockets"
    if name not in _NETWORKS:
        raise LookupError(f"no transport named {name!r} (there are: {', '.join(_NETWORKS)})")
    module = import_module(f".{name}", __name__)
    network: Network = getattr(module, _NETWORKS[name])()
    return network
