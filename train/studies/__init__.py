"""Studies: paths on two-dimensional surfaces, the updates of a network, games, and many small networks."""
