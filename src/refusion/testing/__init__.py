"""Tools for testing code that uses refusion: a virtual clock, and services under fire."""

from ._clock import VirtualClock as VirtualClock
from ._clock import settle as settle
from ._consistency import eventually_consistent as eventually_consistent
from ._consistency_errors import ConsistencyError as ConsistencyError
from ._consistency_errors import HungCalls as HungCalls
from ._consistency_errors import StaleReplica as StaleReplica
from ._consistency_errors import TooManyCalls as TooManyCalls
from ._consistency_report import ConsistencyReport as ConsistencyReport
from ._scenario import ComputeCall as ComputeCall
from ._scenario import ConsistencyScenario as ConsistencyScenario
from ._server_lives import HubFactory as HubFactory
