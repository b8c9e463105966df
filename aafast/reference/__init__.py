"""The authors' iteration, quirks included: the oracle of every operation, the baseline of every benchmark."""
