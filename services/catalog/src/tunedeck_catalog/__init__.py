"""Models and datasets: what there is to train, and what to train it on."""
