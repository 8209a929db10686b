"""How long a pass takes: at least, on a device's roofline, and predicted from kernels that were measured."""
