"""A study with thousands of small networks: does it matter, to 0.01 percentage points, which steps the loss picks?"""
