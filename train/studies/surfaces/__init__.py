"""What LCAM does on surfaces of two parameters, where its path can be drawn."""
