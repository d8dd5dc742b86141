"""The protocol without I/O: plain functions and classes, bytes in and bytes out."""

from ._calls import CallStage as CallStage
from ._calls import InboundCalls as InboundCalls
from ._calls import InboundEntry as InboundEntry
from ._calls import OutboundCalls as OutboundCalls
from ._calls import OutboundEntry as OutboundEntry
from ._calls import Reconciliation as Reconciliation
from ._exception_info import ExceptionInfo as ExceptionInfo
from ._exception_info import error_from_info as error_from_info
from ._exception_info import info_from_error as info_from_error
from ._handshake import PROTOCOL_VERSION as PROTOCOL_VERSION
from ._handshake import Handshake as Handshake
from ._handshake import PeerChange as PeerChange
from ._handshake import check_handshake as check_handshake
from ._handshake import encode_client_id as encode_client_id
from ._handshake import peer_change as peer_change
from ._leb128 import ids_from_bytes as ids_from_bytes
from ._leb128 import ids_to_bytes as ids_to_bytes
from ._leb128 import read_leb128 as read_leb128
from ._leb128 import write_leb128 as write_leb128
from ._message import Headers as Headers
from ._message import RpcMessage as RpcMessage
from ._method_names import MethodNames as MethodNames
from ._method_names import method_hash as method_hash
from ._reconnect_proof import create_secret as create_secret
from ._reconnect_proof import is_valid_proof as is_valid_proof
from ._reconnect_proof import reconnect_proof as reconnect_proof
