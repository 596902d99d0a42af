"""What LCAM does to paths on two-dimensional surfaces, and to the updates of a network."""
