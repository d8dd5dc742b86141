"""Client caches: where a hub's clients find what they knew before."""

from ._cache import CachedValue as CachedValue
from ._cache import ClientCache as ClientCache
from ._flushing_cache import FlushingCache as FlushingCache
from ._memory_cache import MemoryCache as MemoryCache
from ._sqlite_cache import SqliteCache as SqliteCache
