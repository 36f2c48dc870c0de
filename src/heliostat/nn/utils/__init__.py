"""Functions of modules' parameters and gradients."""
