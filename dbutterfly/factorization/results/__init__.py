"""What comes out of a run: factors, certificate, errors, trace and report."""
