"""Two algorithms of your own, registered: the module that `--module` and MODULE:NAME name."""

from bias_maml import BiasMaml
from elite_shift import EliteShift

from metarobot import register_algorithm

register_algorithm("bias_maml", BiasMaml)
register_algorithm("elite_shift", EliteShift)
