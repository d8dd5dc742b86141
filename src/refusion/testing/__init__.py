"""Tools for testing code that uses refusion: a virtual clock and friends."""

from ._clock import VirtualClock as VirtualClock
from ._clock import settle as settle
