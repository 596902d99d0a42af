"""Run training: state, batches, the jitted step, devices, checkpoints, and the loop over epochs."""
