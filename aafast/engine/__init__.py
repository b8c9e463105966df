"""Whole solves without autograd: plans of a model, and the loop that lets finished samples leave."""
