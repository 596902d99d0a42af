"""What LCAM does, looked at closely: on surfaces of two dimensions, and in the updates of a network."""
