"""The recipe of a run: network, training mode, optimizer and learning rate."""
