"""Values that change over time: set by the program, or following what they are computed from."""

from ._computed_state import ComputedState as ComputedState
from ._computed_state import Recomputation as Recomputation
from ._computed_state import StateClosed as StateClosed
from ._delayers import FixedDelayer as FixedDelayer
from ._delayers import UpdateDelayer as UpdateDelayer
from ._mutable_state import MutableState as MutableState
from ._snapshot import StateSnapshot as StateSnapshot
from ._state import State as State
from ._ui_actions import UIActionFailure as UIActionFailure
from ._ui_actions import UIActionTracker as UIActionTracker
