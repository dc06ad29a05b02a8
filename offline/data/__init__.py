"""Films: found, labelled, split by patient, loaded, and changed in ways that mean no harm."""
