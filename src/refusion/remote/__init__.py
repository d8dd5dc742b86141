"""Where computing and calling meet: compute services that are used from other processes."""

from ._hub import FusionHub as FusionHub
