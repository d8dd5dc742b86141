"""Fusion for Python: calls that are cached, know what they were computed from, and tell when that changes.

The kernel is in `refusion.compute`, states that follow a computation in `refusion.states`, remote calls in
`refusion.rpc`, and services whose values are invalidated across the network in `refusion.remote`.
"""

from .compute import ComputationCancelled as ComputationCancelled
from .compute import Computed as Computed
from .compute import ComputedOptions as ComputedOptions
from .compute import ComputedRegistry as ComputedRegistry
from .compute import ConsistencyState as ConsistencyState
from .compute import InvalidationSource as InvalidationSource
from .compute import collect as collect
from .compute import compute_method as compute_method
from .compute import invalidate as invalidate
from .compute import invalidating as invalidating
from .compute import is_invalidating as is_invalidating
from .compute import isolated as isolated
from .compute import registry as registry
from .errors import RefusionError as RefusionError
from .errors import TransientError as TransientError
from .remote import FusionHub as FusionHub
from .remote import MemoryCache as MemoryCache
from .remote import PeerState as PeerState
from .remote import PeerStateMonitor as PeerStateMonitor
from .remote import SqliteCache as SqliteCache
from .remote import Synchronizer as Synchronizer
from .states import ComputedState as ComputedState
from .states import FixedDelayer as FixedDelayer
from .states import MutableState as MutableState
from .states import StateSnapshot as StateSnapshot
from .states import UIActionTracker as UIActionTracker
from .states import UpdateDelayer as UpdateDelayer
