"""How a network learns: the network and its training mode, the optimizer, the learning rate."""
