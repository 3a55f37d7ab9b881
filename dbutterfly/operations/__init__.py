"""What an operator of Kronecker-sparse factors can do, one job per module; the class that unites them is elsewhere."""
