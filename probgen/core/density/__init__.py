"""What samplers draw from: log-densities, given as functions, by distributions, by Pyro models."""
