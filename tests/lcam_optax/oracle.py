"""LCAM as in its authors' script, transcribed literally into NumPy. The other tests compare with it.

once:       mu = initial_momentum ;  buf = 0
each epoch: total = 0
  for i, (loss_i, g):
    d   = g + weight_decay * w
    buf = mu * buf + d
    w   = w - lr * buf
    total += loss_i ;  mean_i = total / (i + 1)
    mu  = mu_below if loss_i < mean_i else mu_above
"""

import numpy as np


def run(
    w, gradients, losses, *, lr, below, above, weight_decay=0.0, initial_momentum=0.9, delay=True, nesterov=False, dtype
):
    """Train on given gradients.

    Args:
      w: Initial parameters, [d].
      gradients: Epochs of gradients, [epochs][steps][d].
      losses: Epochs of losses, [epochs][steps].
      lr, below, above, weight_decay, initial_momentum, delay, nesterov: As in `lcam_optax.lcam`.
      dtype: In which all is computed.

    Returns:
      The parameters after each step and the momentum that each step used.
    """
    lr, below, above, weight_decay, mu = (dtype(x) for x in (lr, below, above, weight_decay, initial_momentum))
    w, buf = w.astype(dtype), np.zeros_like(w, dtype)
    path, momenta = [], []
    for epoch_gradients, epoch_losses in zip(gradients, losses, strict=True):
        total = 0.0  # the authors sum Python floats: double precision
        for i, (g, loss) in enumerate(zip(epoch_gradients, epoch_losses, strict=True)):
            total += float(loss)
            decision = below if float(loss) < total / (i + 1) else above
            if not delay:
                mu = decision
            d = g.astype(dtype) + weight_decay * w
            buf = mu * buf + d
            w = w - lr * (d + mu * buf if nesterov else buf)
            path.append(w)
            momenta.append(mu)
            mu = decision if delay else mu
    return np.stack(path), np.stack(momenta)
