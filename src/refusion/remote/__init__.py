"""Where computing and calling meet: compute services that are used from other processes."""

from ._hub import FusionHub as FusionHub
from ._hub import RefreshDelayer as RefreshDelayer
from ._peer_state import PeerState as PeerState
from ._peer_state import PeerStateKind as PeerStateKind
from ._peer_state_monitor import PeerStateMonitor as PeerStateMonitor
from ._synchronizer import Synchronizer as Synchronizer
from .caches import CachedValue as CachedValue
from .caches import ClientCache as ClientCache
from .caches import FlushingCache as FlushingCache
from .caches import MemoryCache as MemoryCache
from .caches import SqliteCache as SqliteCache
