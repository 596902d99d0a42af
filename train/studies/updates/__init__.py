"""What LCAM does to the updates and the gradient noise of a network."""
