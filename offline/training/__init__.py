"""Networks: trained, hardened, and combined."""
