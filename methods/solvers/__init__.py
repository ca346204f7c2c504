"""Numerical routines shared by several methods: likelihoods, Newton, L-BFGS, small networks."""
