"""How much memory a pass takes: lifetimes of feature maps, what training keeps, the replay of torch's allocator."""

from cnnatomy.analysis.memory.footprint import Footprint, inference, largest_batch, training
from cnnatomy.analysis.memory.setting import Setting

__all__ = ["Footprint", "Setting", "inference", "largest_batch", "training"]
