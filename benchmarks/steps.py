"""Steps of training as a contestant of rounds.py takes them."""


def trained(model, batches):
    """The report of a first step, and a function that takes so many; a step is what `fit` calls."""
    batches = iter(batches)
    model.make_train_function()

    def run(steps):
        for _ in range(steps):
            logs = model.train_function(batches)
        return {"loss": float(logs["loss"])}

    return run(1), run
