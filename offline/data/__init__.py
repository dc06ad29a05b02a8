"""Find, label, split by patient, and load films; change them harmlessly."""
