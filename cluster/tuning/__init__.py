"""Search for hyperparameters: many short trainings, of which the best goes on into export."""
