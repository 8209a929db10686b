"""Any torch module as a graph, by running it on stand-ins for tensors."""
