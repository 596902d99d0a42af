"""Methods made for games with several players, on small games and a small GAN."""
