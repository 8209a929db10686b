"""How much memory a pass takes: lifetimes of feature maps, what training keeps, the replay of torch's allocator."""
