"""Where computing and calling meet: compute services that are used from other processes."""

from ._hub import FusionHub as FusionHub
from ._peer_state import PeerState as PeerState
from ._peer_state import PeerStateKind as PeerStateKind
from ._peer_state_monitor import PeerStateMonitor as PeerStateMonitor
