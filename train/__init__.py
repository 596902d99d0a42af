"""The training program: data, state, epochs, records, report. Run it with `python -m train`."""
