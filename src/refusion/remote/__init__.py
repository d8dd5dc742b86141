"""Where computing and calling meet: compute services that are used from other processes."""

from ._cache import CachedValue as CachedValue
from ._cache import ClientCache as ClientCache
from ._flushing_cache import FlushingCache as FlushingCache
from ._hub import FusionHub as FusionHub
from ._hub import RefreshDelayer as RefreshDelayer
from ._memory_cache import MemoryCache as MemoryCache
from ._peer_state import PeerState as PeerState
from ._peer_state import PeerStateKind as PeerStateKind
from ._peer_state_monitor import PeerStateMonitor as PeerStateMonitor
from ._sqlite_cache import SqliteCache as SqliteCache
from ._synchronizer import Synchronizer as Synchronizer
