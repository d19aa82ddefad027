"""The registry of the optimizers that update each element of a parameter independently."""

from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD

# Their names in recipes are values of `train.optimizer.name` and of Muon's `rest.name`.
Elementwise = SGD | RMSprop | Adam | AdamW
